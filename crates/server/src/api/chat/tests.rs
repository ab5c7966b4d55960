use brigade_core::{Agent, Effort, Reasoning, Settings, testing::ScriptedModel};
use brigade_openai::ChatBody;
use serde_json::{Value, json};

use crate::{
    agents::served::ServedAgent,
    api::{ApiError, json_body::parse},
};

/// The settings of a request with these fields, or the field and the message of its error.
fn settings(fields: Value) -> Result<Settings, (String, String)> {
    let Value::Object(fields) = fields else { panic!("{fields} is not an object") };
    let mut body = json!({ "model": "clerk", "messages": [{ "role": "user", "content": "Hello?" }] });
    body.as_object_mut().unwrap().extend(fields);
    let mut configured = Settings::default();
    configured.max_output_tokens = Some(500);
    let agent =
        ServedAgent::new(Agent::new("clerk", ScriptedModel::new([])).settings(configured)).accepts_client_tools(false);
    let result = parse::<ChatBody>(body.to_string().as_bytes()).and_then(|body| {
        body.refuse_unsupported(agent.accepts_client_tools)?;
        let settings = body.settings(agent.agent.model_settings())?;
        body.conversation(agent.accepts_client_tools).map(|_| settings).map_err(ApiError::from)
    });
    result.map_err(|error| (error.param.unwrap_or_default(), error.message))
}

#[test]
fn numbers_of_common_clients_are_taken() {
    let seed = |value: Value| settings(json!({ "seed": value })).unwrap().seed;
    assert_eq!(
        [json!(7), json!(7.0), json!(-7), json!(-1), json!(null)].map(seed),
        [Some(7), Some(7), Some(7), None, None]
    );
    for name in ["max_tokens", "max_completion_tokens"] {
        let limit = |value: Value| settings(json!({ name: value })).unwrap().max_output_tokens;
        let values = [json!(100), json!(100.0), json!(-1), json!(null), json!(9_000_000_000_u64), json!(u64::MAX)];
        assert_eq!(values.map(limit), [Some(100), Some(100), Some(500), Some(500), Some(500), Some(500)], "{name}");
    }
    let both = settings(json!({ "max_tokens": 300, "max_completion_tokens": 200 })).unwrap();
    assert_eq!(both.max_output_tokens, Some(200));
    let metadata = settings(json!({ "metadata": { "a": 1, "b": 1.5, "c": true, "d": "x" } })).unwrap().metadata;
    assert_eq!(metadata.values().collect::<Vec<_>>(), ["1", "1.5", "true", "x"]);
    assert_eq!(settings(json!({ "reasoning_effort": "max" })).unwrap().reasoning, Some(Reasoning::Effort(Effort::Max)));
    assert!(settings(json!({ "n": 1.0 })).is_ok());
    assert_eq!(settings(json!({ "stop": "x" })).unwrap().stop_sequences, ["x"]);
    assert_eq!(settings(json!({ "stop": ["x", "y"] })).unwrap().stop_sequences, ["x", "y"]);
}

#[test]
fn penalties_are_passed_on_and_probabilities_refused_by_name() {
    let sent = settings(json!({ "frequency_penalty": 0.5, "presence_penalty": -1, "logprobs": false, "n": 1,
        "top_logprobs": 0, "logit_bias": {} }));
    let extra: Vec<_> = sent.unwrap().extra.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
    let penalty = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(extra, [penalty("frequency_penalty", "0.5"), penalty("presence_penalty", "-1.0")]);
    assert!(settings(json!({ "frequency_penalty": 0.0, "presence_penalty": null })).unwrap().extra.is_empty());
    for (fields, param) in [
        (json!({ "n": 2 }), "n"),
        (json!({ "logprobs": true }), "logprobs"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (json!({ "logit_bias": { "50256": -100 } }), "logit_bias"),
        (json!({ "frequency_penalty": 2.5 }), "frequency_penalty"),
        (json!({ "presence_penalty": -3 }), "presence_penalty"),
    ] {
        assert_eq!(settings(fields).unwrap_err().0, param);
    }
}

#[test]
fn fields_of_other_endpoints_are_refused_by_name_and_unknown_ones_ignored() {
    for (name, value, expected) in [
        ("session", json!("s1"), "`POST /v1/runs` has sessions"),
        ("session_id", json!("s1"), "`POST /v1/runs` has sessions"),
        ("budget", json!({ "usd": "0.10" }), "budgets"),
        ("agent", json!("clerk"), "Chat Completions has no `agent`"),
        ("task", json!("Add."), "Chat Completions has no `task`"),
        ("instructions", json!("Be brief."), "Chat Completions has no `instructions`"),
        ("background", json!(true), "Chat Completions has no `background`"),
        ("durable", json!(false), "Chat Completions has no `durable`"),
        ("timeout", json!("5s"), "timeouts"),
        ("conversation", json!("c1"), "send all messages"),
        ("previous_response_id", json!("r1"), "send all messages"),
        ("web_search_options", json!({}), "tools that the server configures"),
        ("modalities", json!(["text", "audio"]), "agents answer in text"),
        ("audio", json!({ "voice": "alloy" }), "agents answer in text"),
        ("tool_choice", json!("required"), "tools that the server configures"),
        ("tool_choice", json!({ "type": "function", "function": { "name": "f" } }), "tools that the server"),
        ("function_call", json!({ "name": "f" }), "the old name of `tool_choice`"),
        ("functions", json!([{ "name": "f" }]), "the old name of `tools`"),
    ] {
        let (param, message) = settings(json!({ name: value })).unwrap_err();
        assert!(param == name && message.contains(expected), "{name}: {param}: {message}");
        assert!(settings(json!({ name: null })).is_ok(), "{name}: null is as good as absent");
    }
    let harmless = json!({ "modalities": ["text"], "tool_choice": "none", "function_call": "auto", "store": false,
        "parallel_tool_calls": true, "service_tier": "auto", "prompt_cache_key": "x", "safety_identifier": "u",
        "prediction": null, "verbosity": "low", "chat_template_kwargs": {}, "num_ctx": 4096 });
    assert!(settings(harmless).is_ok());
}

#[test]
fn values_that_are_not_taken_are_named_exactly() {
    for (fields, param, expected) in [
        (json!({ "max_tokens": 0 }), "max_tokens", "`max_tokens` must be at least 1"),
        (json!({ "max_completion_tokens": 0 }), "max_completion_tokens", "`max_completion_tokens` must be at least 1"),
        (json!({ "max_completion_tokens": -2 }), "max_completion_tokens", "at least 1"),
        (json!({ "max_tokens": 1.5 }), "max_tokens", "`1.5` is not a valid number here; write a whole one"),
        (json!({ "max_tokens": "100" }), "max_tokens", "expected a JSON number; found a string"),
        (json!({ "temperature": "warm" }), "temperature", "expected a number; found a string"),
        (json!({ "stream": 1 }), "stream", "expected `true` or `false`; found `1`"),
        (json!({ "messages": "Hi." }), "messages", "expected a list; found a string"),
        (json!({ "metadata": 5 }), "metadata", "expected a map; found `5`"),
        (json!({ "seed": 0.5 }), "seed", "write a whole one"),
        (json!({ "seed": -1e300 }), "seed", "write a whole one"),
        (json!({ "metadata": { "a": null } }), "metadata.a", "expected a string"),
        (json!({ "metadata": { "a": { "b": 1 } } }), "metadata.a", "expected a string"),
        (json!({ "stop": 5 }), "stop", "expected a string"),
        (json!({ "stop": [5] }), "stop[0]", "expected a string"),
        (json!({ "reasoning_effort": "maximal" }), "reasoning_effort", "xhigh or max"),
        (
            json!({ "response_format": { "type": "regex" } }),
            "response_format.type",
            "unknown choice `regex`; expected one of `text`",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a", "schema": false } } }),
            "response_format",
            "expected a map; found `false`",
        ),
    ] {
        let (found, message) = settings(fields.clone()).unwrap_err();
        assert_eq!(found, param, "{fields}: {message}");
        assert!(message.contains(expected) && !message.contains("untagged"), "{fields}: {message}");
    }
}

#[test]
fn parts_are_taken_or_refused_by_their_type() {
    let with = |part: Value| settings(json!({ "messages": [{ "role": "user", "content": [part] }] }));
    let png = "data:image/png;base64,AAAA";
    for part in [
        json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }),
        json!({ "type": "image_url", "image_url": "https://a.example/x.png" }),
        json!({ "type": "image_url", "image_url": png }),
        json!({ "type": "image_url", "image_url": { "url": png, "detail": "low" } }),
    ] {
        assert!(with(part.clone()).is_ok(), "{part}");
    }
    let refusals = [
        json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "I can't." }] }),
        json!({ "role": "assistant", "content": null, "refusal": "I can't." }),
    ];
    for refusal in refusals {
        let messages = [json!({ "role": "user", "content": "x" }), refusal, json!({ "role": "user", "content": "y" })];
        assert!(settings(json!({ "messages": messages })).is_ok());
    }
    for (part, param, expected) in [
        (json!({ "type": "file", "file": { "file_id": "x" } }), "messages[0].content[0]", "parts of the type `file`"),
        (
            json!({ "type": "input_audio", "input_audio": {} }),
            "messages[0].content[0]",
            "parts of the type `input_audio`",
        ),
        (json!({ "type": "video_url" }), "messages[0].content[0]", "unknown type of part `video_url`"),
        (json!({ "type": "text" }), "messages[0].content[0]", "needs the field `text`"),
        (json!({ "type": "image_url" }), "messages[0].content[0]", "needs the field `image_url`"),
        (json!({ "type": "text", "text": 5 }), "messages[0].content[0].text", "expected a string"),
        (json!({ "type": "image_url", "image_url": 5 }), "messages[0].content[0].image_url", "expected a string"),
        (
            json!({ "type": "image_url", "image_url": {} }),
            "messages[0].content[0].image_url",
            "the key `url` is missing",
        ),
        (json!({ "type": "image_url", "image_url": "x.png" }), "messages[0].content[0]", "must start with"),
        (json!({ "text": "x" }), "messages[0].content[0]", "the key `type` is missing"),
        (json!("x"), "messages[0].content[0]", "expected an object"),
    ] {
        let (found, message) = with(part.clone()).unwrap_err();
        assert!(message.contains(expected) && !message.contains("untagged"), "{part}: {message}");
        assert_eq!(found, param, "{part}: {message}");
    }
    let blank = [json!(""), json!(" \n"), json!(null), json!([]), json!([{ "type": "text", "text": " " }])];
    for content in blank {
        let (found, message) = settings(json!({ "messages": [{ "role": "user", "content": content }] })).unwrap_err();
        assert!(found == "messages" && message.contains("some content"), "{content}: {message}");
    }
    for content in [json!(5), json!(true), json!({ "type": "text", "text": "x" })] {
        let (found, message) = settings(json!({ "messages": [{ "role": "user", "content": content }] })).unwrap_err();
        assert!(found == "messages[0].content" && !message.contains("untagged"), "{found}: {message}");
    }
}

#[test]
fn text_that_is_not_json_or_has_no_value_here_is_named_exactly() {
    for (body, param, expected) in [
        (
            r#"{"model":"clerk","temperature":1e999,"messages":[]}"#,
            Some("temperature"),
            "`temperature`: the number is too large",
        ),
        (r#"{"model":"\ud83d"}"#, Some("model"), "and its like are half a character; send both"),
        (r#"{"model":"\ude00 x"}"#, Some("model"), "and its like are half a character; send both"),
        (r#"{"model":"\ud83dx"}"#, Some("model"), "and its like are half a character; send both"),
        (r#"{"model":"clerk"}"#, None, "the body: the key `messages` is missing; add it"),
        (r#"{"model":"a","model":"b"}"#, None, "the body: the key `model` is there twice; remove one"),
        ("[]", None, "the body: expected an object; found a list"),
        ("", None, "the body is not valid JSON: EOF while parsing a value at line 1 column 0"),
        ("{'model':1}", None, "the body is not valid JSON: key must be a string at line 1 column 2"),
    ] {
        let error = parse::<ChatBody>(body.as_bytes()).unwrap_err();
        assert!(error.message.contains(expected) && error.param.as_deref() == param, "{body}: {error:?}");
    }
}

#[test]
fn a_byte_order_mark_before_the_body_is_skipped() {
    let body = "\u{feff}{\"model\":\"clerk\",\"messages\":[]}";
    assert_eq!(parse::<ChatBody>(body.as_bytes()).unwrap().model, "clerk");
}
