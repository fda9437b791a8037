# SPDX-License-Identifier: Apache-2.0
"""Asks a server of pol-trainer by the client of OpenAI, at the address and with the token given."""
import sys

import openai

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

vectors = client.embeddings.create(model=model, input=["one", "two"]).data
assert abs(sum(value * value for value in vectors[0].embedding) - 1) < 1e-4

for wrong, error in [
    (lambda: client.completions.create(model="other", prompt="x"), openai.NotFoundError),
    (lambda: client.completions.create(model=model, prompt="x" * 600), openai.BadRequestError),
    (lambda: client.chat.completions.create(
        model=model, messages=messages, response_format={"type": "json_object"}),
     openai.BadRequestError),
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
