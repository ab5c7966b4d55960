//! What each dialect and server is sent, behavior by behavior.

use brigade_core::{
    Arguments, ChatRequest, Effort, Image, Message, OutputSchema, Part, RawJson, Reasoning, Role, Run, Settings,
    ToolCall, ToolResult, ToolSet, ToolSpec, Transcript,
};
use http::Response;
use serde_json::{Value, json};

use crate::{Anthropic, Model, OpenAi, OpenAiResponses, Protocol, Server};

/// A column of the tables below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Chat(Server),
    Responses,
    Anthropic,
}

use Column::Chat;

const ALL: [Column; 13] = [
    Chat(Server::OpenAi),
    Chat(Server::Azure),
    Chat(Server::Ollama),
    Chat(Server::Vllm),
    Chat(Server::LlamaCpp),
    Chat(Server::LmStudio),
    Chat(Server::OpenRouter),
    Chat(Server::Groq),
    Chat(Server::DeepSeek),
    Chat(Server::Together),
    Chat(Server::Mistral),
    Column::Responses,
    Column::Anthropic,
];

fn chat(server: Server, model: &str) -> Model<crate::ChatCompletions> {
    OpenAi::server(server).base_url("https://a.test/v1").build().unwrap().model(model)
}

fn responses(model: &str) -> Model<crate::Responses> {
    OpenAiResponses::builder().build().unwrap().model(model)
}

fn anthropic(model: &str) -> Model<crate::Messages> {
    Anthropic::builder().build().unwrap().model(model)
}

fn body<P: Protocol>(model: &Model<P>, request: &ChatRequest) -> Value {
    serde_json::from_slice(&model.encode(request, false).unwrap()).unwrap()
}

impl Column {
    fn sent(self, model: &str, request: &ChatRequest) -> Value {
        match self {
            Chat(server) => body(&chat(server, model), request),
            Self::Responses => body(&responses(model), request),
            Self::Anthropic => body(&anthropic(model), request),
        }
    }

    /// The roles of a conversation as it is sent, one letter each; calls and results of Responses are `a` and `t`.
    fn roles(self, history: &[Message]) -> String {
        let sent = self.sent("m", &conversation(history));
        let items = sent.get("messages").or(sent.get("input")).unwrap().as_array().unwrap().clone();
        let role = |item: &Value| match (item["role"].as_str(), item["type"].as_str()) {
            (Some(role), _) => role.chars().next(),
            (None, Some("function_call")) => Some('a'),
            (None, _) => Some('t'),
        };
        items.iter().filter_map(role).collect()
    }

    /// Whether a chat template may stand between the API and the model.
    fn is_strict(self) -> bool {
        matches!(self, Chat(server) if !matches!(server, Server::OpenAi | Server::Azure | Server::Groq))
    }
}

fn conversation(history: &[Message]) -> ChatRequest {
    let mut transcript = Transcript::new();
    for message in history {
        transcript.push(message.clone()).unwrap();
    }
    ChatRequest::default().transcript(transcript)
}

fn calls(arguments: &str) -> Message {
    let call = ToolCall::new("call_0123", "look", Arguments::parse(arguments.to_owned()));
    Message::new(Role::Assistant, vec![Part::ToolCall(call)])
}

fn results(content: Vec<Part>) -> Message {
    let result = ToolResult::new(&ToolCall::new("call_0123", "look", Arguments::default()), content);
    Message::tool(vec![result])
}

fn tools() -> ToolSet {
    ToolSet::new(vec![ToolSpec::new("look", "Looks.", RawJson::empty_object())])
}

#[test]
fn roles_alternate_where_a_template_wants_it() {
    let user = || Message::user("And?");
    let image = || Part::Image(Image::Url("https://a.test/i.png".into()));
    let reasons = Message::new(Role::Assistant, vec![Part::Thinking(brigade_core::TextPart::default())]);
    // The history, and the roles on lenient servers, strict servers, Responses and Anthropic.
    let cases = [
        (vec![user(), calls("{}"), results(vec![]), user()], ["uatu", "uatau", "uatu", "uau"]),
        (vec![user(), user()], ["uu", "u", "uu", "u"]),
        (vec![user(), calls("{}"), results(vec![image()])], ["uatu", "uatau", "uat", "uau"]),
        (vec![user(), calls("{}"), results(vec![image()]), user()], ["uatuu", "uatau", "uatu", "uau"]),
        (vec![user(), Message::assistant("So."), Message::assistant("Yes."), user()], ["uaau", "uauau", "uaau", "uau"]),
        (vec![user(), Message::assistant("So.")], ["ua", "uau", "ua", "ua"]),
        (vec![user(), reasons, user()], ["uau", "u", "uu", "u"]),
        (vec![user(), calls("{}"), results(vec![])], ["uat", "uat", "uat", "uau"]),
    ];
    for (history, [lenient, strict, responses, anthropic]) in cases {
        for column in ALL {
            let expected = match column {
                Chat(_) if column.is_strict() => strict,
                Chat(_) => lenient,
                Column::Responses => responses,
                Column::Anthropic => anthropic,
            };
            assert_eq!(column.roles(&history), expected, "{column:?} {history:?}");
        }
    }
    let merged = Chat(Server::Mistral).sent("m", &conversation(&[user(), user()]));
    assert_eq!(merged["messages"][0]["content"], "And?\n\nAnd?", "templates take a string");
}

#[test]
fn an_assistant_that_only_calls_tools_has_the_content_that_its_server_takes() {
    let request = conversation(&[Message::user("?"), calls("{}"), results(vec![])]);
    for column in ALL {
        let Chat(server) = column else { continue };
        let message = column.sent("m", &request)["messages"][1].clone();
        let expected = match server {
            Server::DeepSeek | Server::Mistral | Server::Ollama | Server::LmStudio => json!(""),
            Server::OpenAi
            | Server::Azure
            | Server::Vllm
            | Server::LlamaCpp
            | Server::OpenRouter
            | Server::Groq
            | Server::Together => Value::Null,
        };
        assert_eq!(message.get("content"), Some(&expected), "{server:?} {message}");
    }
}

#[test]
fn the_arguments_of_a_call_go_back_as_a_json_object() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let cases = [
        (r#"{"a": 1}"#, r#"{"a":1}"#),
        (r#"{"a":"#, r#"{"_malformed":"{\"a\":"}"#),
        ("{\"a\":\"\n\"}", r#"{"_malformed":"{\"a\":\"\n\"}"}"#),
        (r#""{\"a\":1}""#, r#"{"a":1}"#),
        (r#"{"a":1}{"a":1}"#, r#"{"_malformed":"{\"a\":1}{\"a\":1}"}"#),
        (r#"{"a":NaN}"#, r#"{"_malformed":"{\"a\":NaN}"}"#),
        ("[1]", r#"{"_malformed":"[1]"}"#),
        ("null", r#"{"_malformed":"null"}"#),
        ("", "{}"),
        (&deep, ""),
    ];
    for (written, expected) in cases {
        let request = conversation(&[Message::user("?"), calls(written), results(vec![])]);
        for column in ALL {
            let sent = column.sent("m", &request);
            let parsed = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
            let arguments = match column {
                Chat(_) => parsed(&sent["messages"][1]["tool_calls"][0]["function"]["arguments"]),
                Column::Responses => parsed(&sent["input"][1]["arguments"]),
                Column::Anthropic => sent["messages"][1]["content"][0]["input"].clone(),
            };
            assert!(arguments.is_object(), "{column:?} {arguments}");
            if !expected.is_empty() {
                assert_eq!(arguments, serde_json::from_str::<Value>(expected).unwrap(), "{column:?} {written}");
            }
        }
    }
}

/// The answer of a model, sent back by the model and by others.
fn sent_back<P: Protocol>(answer: &Value, maker: &Model<P>, others: &[Model<P>]) -> Vec<String> {
    let response = Response::new(answer.to_string().into());
    let answer = maker.decode(&response, &Run::new()).unwrap().message;
    let request = conversation(&[Message::user("?"), answer, Message::user("And?")]);
    // Twice, because encodings are kept.
    for model in others.iter().chain([maker]) {
        model.encode(&request, false).unwrap();
    }
    let text = |model: &Model<P>| String::from_utf8(model.encode(&request, false).unwrap()).unwrap();
    [maker].into_iter().chain(others).map(text).collect()
}

/// The first two may read `private`, and no other; each gets the text.
fn assert_private(sent: &[String], private: &str) {
    for (position, body) in sent.iter().enumerate() {
        assert_eq!(body.contains(private), position < 2, "{position}: {body}");
        assert!(body.contains("It is blue."), "{body}");
    }
}

#[test]
fn private_reasoning_goes_only_to_the_account_address_and_family_that_made_it() {
    let openai = |name: &str, url: &str, model: &str| {
        OpenAiResponses::builder().name(name.to_owned()).base_url(url.to_owned()).build().unwrap().model(model)
    };
    let answer = json!({ "status": "completed", "output": [
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA-private" },
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
          "content": [{ "type": "output_text", "text": "It is blue.", "annotations": [] }] },
    ], "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let (a, at) = ("a", "https://a.test/v1");
    let others = [
        openai(a, at, "gpt-5-nano"),
        openai("b", at, "gpt-5-mini"),
        openai(a, "https://b.test/v1", "gpt-5-mini"),
        openai(a, at, "o3"),
    ];
    let sent = sent_back(&answer, &openai(a, at, "gpt-5-mini"), &others);
    assert_private(&sent, "gAAA-private");
    assert_private(&sent, "msg_1");

    let claude = |name: &str, url: &str, model: &str| {
        Anthropic::builder().name(name.to_owned()).base_url(url.to_owned()).build().unwrap().model(model)
    };
    let answer = json!({ "type": "message", "role": "assistant", "stop_reason": "end_turn", "content": [
        { "type": "thinking", "thinking": "hm", "signature": "EqQB-private" },
        { "type": "text", "text": "It is blue." },
    ], "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let others = [
        claude(a, at, "claude-opus-4-5"),
        claude("b", at, "claude-sonnet-4-5"),
        claude(a, "https://b.test", "claude-sonnet-4-5"),
        claude(a, at, "deepseek-reasoner"),
    ];
    assert_private(&sent_back(&answer, &claude(a, at, "claude-sonnet-4-5"), &others), "EqQB-private");

    let router = |name: &str, url: &str, model: &str| {
        OpenAi::server(Server::OpenRouter).name(name.to_owned()).base_url(url.to_owned()).build().unwrap().model(model)
    };
    let answer = json!({ "choices": [{ "finish_reason": "stop", "message": { "role": "assistant",
        "content": "It is blue.",
        "reasoning_details": [{ "type": "reasoning.encrypted", "data": "gAAA-private", "index": 0 }],
    } }], "usage": { "prompt_tokens": 1, "completion_tokens": 1 } });
    let others = [
        router(a, at, "openai/gpt-5-nano"),
        router("b", at, "openai/gpt-5-mini"),
        router(a, "https://b.test/v1", "openai/gpt-5-mini"),
        router(a, at, "google/gemini-3-pro"),
    ];
    assert_private(&sent_back(&answer, &router(a, at, "openai/gpt-5-mini"), &others), "gAAA-private");
}

#[test]
fn readable_reasoning_goes_to_every_server_that_takes_it() {
    let server = |name: &str| OpenAi::compatible(name.to_owned(), "https://a.test/v1").build().unwrap().model("qwen3");
    let answer = json!({ "choices": [{ "finish_reason": "stop", "message": { "role": "assistant",
        "content": "It is blue.", "reasoning_content": "hm-readable",
    } }], "usage": { "prompt_tokens": 1, "completion_tokens": 1 } });
    assert_private(&sent_back(&answer, &server("a"), &[server("b")]), "hm-readable");
}

#[test]
fn a_schema_is_enforced_or_in_the_prompt() {
    let schema = RawJson::parse(r#"{"type":"object","title":"the-schema"}"#.into()).unwrap();
    let settings = Settings::default().output(Some(OutputSchema::new("answer", schema).strict(true)));
    let instructed = ChatRequest::new("?").settings(settings).instructions(Some(Message::system("Be brief.")));
    for column in ALL {
        for (request, with_tools) in [(instructed.clone(), false), (instructed.clone().tools(tools()), true)] {
            let sent = column.sent("claude-sonnet-4-5", &request);
            let in_prompt = sent["messages"][0]["content"].to_string().contains("the-schema");
            let format = sent.get("response_format").map(|format| format["type"].clone());
            let expected = match column {
                Chat(Server::DeepSeek) => (Some(json!("json_object")), true),
                Chat(Server::Groq) if with_tools => (None, true),
                Chat(_) => (Some(json!("json_schema")), false),
                Column::Responses | Column::Anthropic => (None, false),
            };
            assert_eq!((format, in_prompt), expected, "{column:?} with tools: {with_tools}");
            assert!(sent.to_string().contains("the-schema"), "{column:?}");
            if let Chat(_) = column {
                assert!(sent["messages"][0]["content"].as_str().unwrap().starts_with("Be brief."), "{column:?}");
                assert_eq!(column.sent("m", &request)["messages"].as_array().unwrap().len(), 2);
            }
        }
    }
}

/// The settings that common clients may send.
fn every_setting() -> Settings {
    let one = |name: &str| (name.to_owned(), RawJson::parse("1".into()).unwrap());
    Settings::default()
        .temperature(Some(0.5))
        .top_p(Some(0.9))
        .stop_sequences(vec!["END".into()])
        .seed(Some(1))
        .user(Some("u".into()))
        .metadata([("team".to_owned(), "a".to_owned())].into())
        .reasoning(Some(Reasoning::Effort(Effort::Low)))
        .extra(["frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"].map(one).into())
}

const SAMPLING: [&str; 7] =
    ["temperature", "top_p", "stop", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"];

#[test]
fn settings_that_a_known_model_or_server_refuses_are_left_out() {
    let request = ChatRequest::new("?").settings(every_setting());
    let fixed = |more: &[&'static str]| [&SAMPLING[..], more].concat();
    let responses_lack = ["stop", "seed", "frequency_penalty", "presence_penalty", "logprobs"];
    let cases: [(Column, &str, Vec<&str>); 17] = [
        (Chat(Server::OpenAi), "gpt-5-mini", fixed(&["metadata"])),
        (Chat(Server::OpenAi), "gpt-5.2", fixed(&["metadata"])),
        (Chat(Server::OpenAi), "o3", fixed(&["metadata"])),
        (Chat(Server::OpenAi), "gpt-4.1", vec!["metadata", "reasoning_effort"]),
        (Chat(Server::Azure), "o4-mini", fixed(&["metadata"])),
        (Chat(Server::OpenRouter), "openai/gpt-5", fixed(&[])),
        (Chat(Server::Groq), "llama-3.3-70b", vec!["metadata", "logprobs", "top_logprobs", "reasoning_effort"]),
        (Chat(Server::Ollama), "llama3.2", vec!["reasoning_effort"]),
        (Chat(Server::Vllm), "qwen3-32b", vec![]),
        (Chat(Server::Mistral), "mistral-small", vec!["user", "logprobs", "top_logprobs", "seed"]),
        (Chat(Server::Mistral), "ministral-8b", vec!["user", "logprobs", "top_logprobs", "reasoning_effort", "seed"]),
        (Column::Responses, "gpt-5-mini", [&responses_lack[..], &["temperature", "top_p", "top_logprobs"]].concat()),
        (Column::Responses, "gpt-4.1", [&responses_lack[..], &["reasoning"]].concat()),
        (Column::Responses, "own-model", responses_lack.to_vec()),
        (
            Column::Anthropic,
            "claude-opus-4-7",
            vec!["temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"],
        ),
        (
            Column::Anthropic,
            "claude-3-5-haiku",
            vec!["thinking", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"],
        ),
        (
            Column::Anthropic,
            "claude-sonnet-4-5",
            vec!["temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"],
        ),
    ];
    for (column, model, refused) in cases {
        let sent = column.sent(model, &request);
        let all = [&SAMPLING[..], &["seed", "user", "metadata"]].concat();
        for name in all.iter().filter(|name| column != Column::Anthropic || !matches!(**name, "user" | "stop")) {
            // Anthropic's `metadata` is where the user's id goes.
            let present = sent.get(name).is_some_and(|value| !value.is_null());
            let allowed = !refused.contains(name);
            assert_eq!(present, allowed, "{column:?} {model} {name}: {sent}");
        }
        for name in ["reasoning_effort", "reasoning", "thinking"] {
            assert!(!refused.contains(&name) || sent.get(name).is_none(), "{column:?} {model} {name}");
        }
    }
    let stored = every_setting().extra([("store".to_owned(), RawJson::parse("true".into()).unwrap())].into());
    let sent = Chat(Server::OpenAi).sent("gpt-5-mini", &ChatRequest::new("?").settings(stored));
    assert_eq!(sent["metadata"], json!({ "team": "a" }));
    let usual = ChatRequest::new("?").settings(Settings::default().temperature(Some(1.0)));
    assert_eq!(Chat(Server::OpenAi).sent("gpt-5-mini", &usual)["temperature"], 1.0, "the default is accepted");
    let off = Settings::default().temperature(Some(0.5)).reasoning(Some(Reasoning::Off));
    for column in [Chat(Server::OpenAi), Column::Responses] {
        let sent = column.sent("gpt-5.1", &ChatRequest::new("?").settings(off.clone()));
        assert_eq!(sent["temperature"], 0.5, "sampling can be set while the model does not reason");
    }
}

#[test]
fn a_model_is_asked_for_the_nearest_effort_that_it_accepts() {
    let cases = [
        ("gpt-5-mini", ["minimal", "minimal", "low", "high"]),
        ("openai/gpt-5-nano-2025-08-07", ["minimal", "minimal", "low", "high"]),
        ("gpt-5-codex", ["low", "low", "low", "high"]),
        ("gpt-5-pro", ["high", "high", "high", "high"]),
        ("gpt-5.1", ["none", "low", "low", "high"]),
        ("gpt-5.2", ["none", "low", "low", "xhigh"]),
        ("gpt-5.6-luna", ["none", "low", "low", "xhigh"]),
        ("o4-mini", ["low", "low", "low", "high"]),
        ("gpt-oss-120b", ["low", "low", "low", "high"]),
        ("gpt-50", ["none", "low", "low", "high"]),
        ("qwen3", ["none", "low", "low", "high"]),
    ];
    let asked =
        [Reasoning::Off, Reasoning::Effort(Effort::Minimal), Reasoning::Budget(2_000), Reasoning::Effort(Effort::Max)];
    for (model, expected) in cases {
        for (reasoning, effort) in asked.into_iter().zip(expected) {
            let request = ChatRequest::new("?").settings(Settings::default().reasoning(Some(reasoning)));
            let sent = Chat(Server::OpenAi).sent(model, &request);
            assert_eq!(sent["reasoning_effort"], effort, "{model} {reasoning:?}");
            let sent = Column::Responses.sent(model, &request);
            assert_eq!(sent["reasoning"]["effort"], effort, "{model} {reasoning:?}");
        }
    }
}
