"""OpenAI's Python client against two brigades: python3 openai_client.py OPEN_URL STRICT_URL"""

import sys

import openai

open_url, strict_url = (url + "/v1" for url in sys.argv[1:])
WORDS = "It is sunny in Paris today."


def client(url, key="none"):
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20)


def messages(text):
    return [{"role": "user", "content": text}]


def ask(of, text="How is the weather?", **arguments):
    return of.chat.completions.create(**{"model": "clerk", "messages": messages(text), **arguments})


def refused(kind, status, code, of, **arguments):
    try:
        ask(of, **arguments)
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} for {arguments}"
        assert (error.status_code, error.code) == (status, code), error
        return error
    raise AssertionError(f"no {kind.__name__} for {arguments}")


clerk = client(open_url)

assert [model.id for model in clerk.models.list()] == ["clerk", "pauper"]
assert clerk.models.retrieve("clerk").id == "clerk"

answer = ask(clerk)
assert answer.choices[0].message.content == WORDS, answer
assert answer.choices[0].finish_reason == "stop"
assert answer.usage.total_tokens == 150

chunks = list(ask(clerk, stream=True, stream_options={"include_usage": True}))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == WORDS, text
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 30
assert all(chunk.usage is None for chunk in chunks[:-1])
assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "stop"

raw = clerk.chat.completions.with_raw_response.create(model="clerk", messages=messages("Hello?"))
assert len(raw.headers["x-trace-id"]) == 8 and raw.parse().id.startswith("chatcmpl-")

assert refused(openai.BadRequestError, 400, "invalid_request", clerk, messages=[]).param == "messages"
refused(openai.BadRequestError, 400, "unsupported_parameter", clerk, functions=[{"name": "x"}])
refused(openai.AuthenticationError, 401, "invalid_api_key", client(strict_url))
refused(openai.APIStatusError, 402, "budget_exhausted", clerk, model="pauper")
refused(openai.PermissionDeniedError, 403, "scope_missing", client(strict_url, "brg_reader"))
refused(openai.NotFoundError, 404, "model_not_found", clerk, model="nobody")
refused(openai.RateLimitError, 429, "too_many_runs", client(strict_url, "brg_runner"))
refused(openai.InternalServerError, 503, "provider_overloaded", clerk, text="Be down.")

said = ""
try:
    for chunk in ask(clerk, text="Break.", stream=True):
        said += chunk.choices[0].delta.content or ""
    raise AssertionError("a stream that breaks off must not look whole")
except openai.APIError:
    assert said and said != WORDS, said


# Tools that the client runs.

parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
asked = messages("Use a tool.")
called = ask(clerk, messages=asked, tools=[tool]).choices[0]
assert called.finish_reason == "tool_calls" and called.message.tool_calls[0].function.name == "look", called
result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "Sunny."}
assert ask(clerk, messages=[*asked, called.message, result], tools=[tool]).choices[0].message.content == WORDS
chunks = [chunk.choices[0] for chunk in ask(clerk, messages=asked, tools=[tool], stream=True)]
assert [call.function.arguments for chunk in chunks for call in chunk.delta.tool_calls or []] == ['{"place":"Paris"}']
assert chunks[-1].finish_reason == "tool_calls", chunks

# Responses.

def respond(of, text="How is the weather?", **arguments):
    return of.responses.create(**{"model": "clerk", "input": text, **arguments})


response = respond(clerk, instructions="Be brief.", metadata={"a": "b"})
assert (response.output_text, response.status, response.metadata) == (WORDS, "completed", {"a": "b"}), response
assert response.usage.total_tokens == 150 and response.id.startswith("resp_")
assert clerk.responses.retrieve(response.id).output_text == WORDS
assert clerk.responses.input_items.list(response.id).data[0].content[0].text == "How is the weather?"
assert respond(clerk, previous_response_id=response.id).previous_response_id == response.id
items = [{"role": "user", "content": "Hello."}, *response.output, {"role": "user", "content": "And now?"}]
assert respond(clerk, items, store=False).output_text == WORDS

events = list(respond(clerk, stream=True))
assert [event.sequence_number for event in events] == list(range(len(events)))
assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == WORDS
assert events[0].type == "response.created" and events[-1].type == "response.completed"
with clerk.responses.stream(model="clerk", input="How is the weather?") as stream:
    assert stream.get_final_response().output_text == WORDS

background = respond(clerk, background=True)
while background.status == "in_progress":
    background = clerk.responses.retrieve(background.id)
assert background.output_text == WORDS, background
assert clerk.responses.cancel(background.id).status == "completed"

clerk.responses.delete(response.id)
for kind, code, arguments in [
    (openai.NotFoundError, "response_not_found", {"previous_response_id": response.id}),
    (openai.NotFoundError, "model_not_found", {"model": "nobody"}),
    (openai.RateLimitError, "insufficient_quota", {"model": "pauper"}),
    (openai.BadRequestError, "unsupported_parameter", {"truncation": "disabled"}),
    (openai.InternalServerError, "provider_overloaded", {"text": "Be down."}),
]:
    try:
        respond(clerk, **arguments)
        raise AssertionError(f"no {kind.__name__} for {arguments}")
    except openai.APIStatusError as error:
        assert type(error) is kind and error.code == code, error

broken = list(respond(clerk, "Break.", stream=True))
assert broken[-1].type == "response.failed" and broken[-1].response.error.code == "provider_overloaded", broken[-1]

tool = {"type": "function", "name": "look", "parameters": parameters, "strict": False}
called = respond(clerk, "Use a tool.", tools=[tool])
assert (called.output[0].type, called.output[0].arguments) == ("function_call", '{"place":"Paris"}'), called
output = [{"type": "function_call_output", "call_id": called.output[0].call_id, "output": "Sunny."}]
assert respond(clerk, output, tools=[tool], previous_response_id=called.id).output_text == WORDS
events = list(respond(clerk, "Use a tool.", tools=[tool], stream=True))
assert events[-1].response.output[0].name == "look" and events[-1].response.status == "completed", events[-1]
