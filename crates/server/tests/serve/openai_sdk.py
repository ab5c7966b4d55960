"""The vendor's own client against a brigade: python3 openai_sdk.py BASE_URL"""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
question = [{"role": "user", "content": "How is the weather?"}]

assert [model.id for model in client.models.list()] == ["clerk"]

answer = client.chat.completions.create(model="clerk", messages=question)
assert answer.choices[0].message.content == "It is sunny in Paris today.", answer
assert answer.choices[0].finish_reason == "stop"
assert answer.usage.total_tokens == 150

chunks = list(
    client.chat.completions.create(
        model="clerk", messages=question, stream=True, stream_options={"include_usage": True}
    )
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == "It is sunny in Paris today.", text
assert chunks[-1].usage.completion_tokens == 30

raw = client.chat.completions.with_raw_response.create(model="clerk", messages=question)
assert len(raw.headers["x-trace-id"]) == 8 and raw.parse().id.startswith("chatcmpl-")


def refused(kind, **arguments):
    try:
        client.chat.completions.create(**{"model": "clerk", "messages": question, **arguments})
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} for {arguments}")


assert refused(openai.NotFoundError, model="nobody").code == "model_not_found"
assert refused(openai.BadRequestError, messages=[]).param == "messages"
tool = {"type": "function", "function": {"name": "x", "parameters": {}}}
assert refused(openai.BadRequestError, tools=[tool]).code == "unsupported_parameter"
print("all as the vendor's client expects it")
