# SPDX-License-Identifier: Apache-2.0
"""Asks a server of pol-trainer by the client of OpenAI, at the address and with the token given."""
import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel, Field


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]


base, token = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{base}/v1", api_key=token, max_retries=0)
model = client.models.list().data[0].id

text = client.completions.create(model=model, prompt="Once", max_tokens=20, seed=5, logprobs=2)
assert text.usage.completion_tokens <= 20 and text.system_fingerprint, text
stream = client.completions.create(model=model, prompt="Once", max_tokens=20, seed=5, stream=True)
assert "".join(part.choices[0].text for part in stream) == text.choices[0].text

messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
chat = client.chat.completions.create(
    model=model, messages=messages, max_tokens=20, seed=1, logprobs=True, top_logprobs=3, n=2)
assert len(chat.choices) == 2 and chat.choices[0].message.role == "assistant"
assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 3
stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=20, seed=1, n=2, stream=True,
    stream_options={"include_usage": True})
answers, usage = ["", ""], None
for part in stream:
    usage = part.usage or usage
    for choice in part.choices:
        answers[choice.index] += choice.delta.content or ""
assert answers == [choice.message.content for choice in chat.choices], answers
assert usage.total_tokens == chat.usage.total_tokens

assert client.models.retrieve(model).id == model

# A form of the answer, by a type of Pydantic: whole, as a stream, and in a completion.
parsed = client.chat.completions.parse(
    model=model, messages=messages, max_tokens=200, seed=3, temperature=1.3, response_format=Person)
assert parsed.choices[0].message.parsed.age <= 120, parsed
with client.chat.completions.stream(
        model=model, messages=messages, max_tokens=200, seed=3, temperature=1.3,
        response_format=Person) as events:
    last = events.get_final_completion()
assert last.choices[0].message.parsed == parsed.choices[0].message.parsed
any_object = client.chat.completions.create(
    model=model, messages=messages, max_tokens=200, seed=1, response_format={"type": "json_object"})
if any_object.choices[0].finish_reason == "stop":
    assert isinstance(json.loads(any_object.choices[0].message.content), dict)

# A function: its call, as a stream too, and its result.
tools = [openai.pydantic_function_tool(Person, name="greet")]
called = client.chat.completions.create(
    model=model, messages=messages, max_tokens=300, seed=2, tools=tools, tool_choice="required")
assert called.choices[0].finish_reason == "tool_calls", called
call = called.choices[0].message.tool_calls[0]
assert call.function.name == "greet" and Person.model_validate_json(call.function.arguments)
with client.chat.completions.stream(
        model=model, messages=messages, max_tokens=300, seed=2, tools=tools,
        tool_choice="required") as events:
    streamed = events.get_final_completion().choices[0].message.tool_calls[0]
assert streamed.function.arguments == call.function.arguments
answer = client.chat.completions.create(
    model=model, max_tokens=20, seed=2, tools=tools, messages=[
        *messages, called.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "greeted"}])
assert answer.usage.prompt_tokens > called.usage.prompt_tokens

# A receipt, which the caller verifies.
signed = client.chat.completions.create(
    model=model, messages=messages, max_tokens=20, seed=-1, n=2, extra_body={"pol_receipt": True})
with open(sys.argv[3], "w") as file:
    json.dump(signed.choices[1].model_extra["pol_receipt"], file)

vectors = client.embeddings.create(model=model, input=["one", "two"]).data
assert abs(sum(value * value for value in vectors[0].embedding) - 1) < 1e-4

for wrong, error in [
    (lambda: client.completions.create(model="other", prompt="x"), openai.NotFoundError),
    (lambda: client.completions.create(model=model, prompt="x" * 5000), openai.BadRequestError),
    (lambda: client.chat.completions.create(
        model=model, messages=messages, response_format={
            "type": "json_schema", "json_schema": {
                "name": "n", "schema": {"type": "array", "uniqueItems": True}}}),
     openai.BadRequestError),
    (lambda: client.models.retrieve("other"), openai.NotFoundError),
    (lambda: openai.OpenAI(base_url=f"{base}/v1", api_key="pol_0", max_retries=0).models.list(),
     openai.AuthenticationError),
]:
    try:
        wrong()
    except error as refused:
        assert refused.body["message"], refused
    else:
        raise AssertionError(f"{error} was expected")
print(f"openai {openai.__version__} for Python: all answers as expected")
