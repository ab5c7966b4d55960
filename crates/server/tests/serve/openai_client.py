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

tool = {"type": "function", "function": {"name": "x", "parameters": {}}}
assert refused(openai.BadRequestError, 400, "invalid_request", clerk, messages=[]).param == "messages"
refused(openai.BadRequestError, 400, "unsupported_parameter", clerk, tools=[tool])
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
