# SPDX-License-Identifier: Apache-2.0
"""Runs agents of Pydantic AI on a server of pol-trainer, at the address and with the token given."""
import sys
from importlib.metadata import version

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings


class Answer(BaseModel):
    """Answer to a question."""

    text: str = Field(max_length=12)
    points: int = Field(ge=0, le=9)


base, token = sys.argv[1:3]
provider = OpenAIProvider(base_url=f"{base}/v1", api_key=token)
model = OpenAIChatModel("tiny", provider=provider)
settings = ModelSettings(max_tokens=400, seed=5, temperature=1.2)

# The answer is a call of a function, which the model has to make, or JSON of a schema.
for output in (Answer, NativeOutput(Answer)):
    result = Agent(model, output_type=output, model_settings=settings).run_sync("How are you?")
    assert 0 <= result.output.points <= 9, result
    assert result.usage.output_tokens > 0, result

# A function of the agent is among those that the model may call.
agent = Agent(model, output_type=Answer, model_settings=settings, retries=5)
asked = []


@agent.tool_plain
def look(place: int) -> str:
    """Looks at a place."""
    asked.append(place)
    return "nothing"


result = agent.run_sync("Look around, then answer.")
assert 0 <= result.output.points <= 9, result
print(f"Pydantic AI {version('pydantic-ai-slim')}: all answers as expected, {len(asked)} calls")
