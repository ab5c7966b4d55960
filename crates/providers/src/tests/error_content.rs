//! Nothing that a user wrote or a model answered is in an error.

use std::error::Error;

use brigade_core::{ChatRequest, Message, Part, Role, Run, ToolResult};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    client::{CannedServer, model},
    dialects::{Answer, DIALECTS, Dialect},
};

/// Responses in which each string has the mark `M`: errors in every form that is known, and damaged answers.
fn responses(dialect: Dialect) -> Vec<(&'static str, Vec<u8>)> {
    let errors = [
        r#"{"error":{"message":"M: 'xM', M.","type":"M","code":"M","param":"M","M":"M"},"request_id":"M"}"#,
        r#"{"type":"error","error":{"type":"M","message":"M"},"request_id":"M"}"#,
        r#"{"error":"M"}"#,
        r#"{"detail":"M"}"#,
        r#"{"detail":[{"type":"M","loc":["M",0],"msg":"M","input":"M"}]}"#,
        r#"{"message":"M","code":"M"}"#,
        r#"{"M":"M"}"#,
        r#""M""#,
        r#"[{"error":{"message":"M","status":"M","details":[{"M":"M"}]}}]"#,
        r#"{"error":{"message":"M","metadata":{"raw":"{\"error\":{\"message\":\"M\"}}","headers":{"M":"M"}}}}"#,
        r#"{"error":{"message":"M","failed_generation":"M","code":"tool_use_failed"}}"#,
        "M",
        "<html><title>M</title>M</html>",
        "{\"M",
        "\u{feff}M",
    ];
    let statuses = [
        "200 OK",
        "400 Bad Request",
        "401 M",
        "404 Not Found",
        "429 Too Many Requests",
        "500 M",
        "307 Temporary Redirect",
    ];
    let mut responses = Vec::new();
    for error in errors {
        responses.extend(statuses.map(|status| (status, error.as_bytes().to_vec())));
        responses.push(("200 OK", format!("event: error\ndata: {error}\n\n").into()));
        responses.push(("200 OK", format!("data: {error}\n\n").into()));
    }
    let fields = r#","id":"M","model":"M","service_tier":"M","object":"M""#;
    let answer = Answer { fields, ..Answer::text(&["M M", "M"]) };
    let call = Answer { fields, ..Answer::call(r#"{\"M\":\"M|\"}"#) };
    for answer in [answer, call] {
        let (events, end) = answer.events(dialect);
        let document = answer.document(dialect);
        responses.push(("200 OK", document[..document.len() - 2].to_vec()));
        responses.push(("200 OK", String::from_utf8(document).unwrap().replace('[', "7,[").into()));
        for length in 1..events.len() {
            for after in ["", "data: {\"M", "data: {\"error\":{\"message\":\"M\"}}\n\n", "event: error\ndata: M\n\n"] {
                responses.push(("200 OK", [&events[..length].concat(), after.as_bytes()].concat()));
            }
        }
        let failed = String::from_utf8(end).unwrap().replace("completed", "failed");
        responses.push(("200 OK", failed.into()));
    }
    responses
}

/// A request with the mark in every text.
fn request(mark: &str) -> ChatRequest {
    let text = format!("Say {mark}, please.");
    let mut request = ChatRequest::new(&*text).instructions(Some(Message::system(mark)));
    let call = brigade_core::ToolCall::new("c", "f", brigade_core::Arguments::parse(format!("{{\"q\":\"{mark}\"}}")));
    let result = ToolResult::new(&call, vec![Part::text(mark)]);
    request.transcript.push(Message::new(Role::Assistant, vec![Part::ToolCall(call)])).unwrap();
    request.transcript.answer_calls(vec![result]).unwrap();
    request
}

/// Everything that an error says.
fn everything(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.extend([cause.to_string(), format!("{cause:?}")]);
        source = cause.source();
    }
    text
}

#[test]
fn no_error_says_what_a_user_wrote_or_a_model_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let strategy =
        (any::<prop::sample::Index>(), "[a-z]{3}[0-9]{4}|Blue Finch|[а-я]{5}|4711|[A-Za-z0-9]{30}", any::<bool>());
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |(index, mark, stream)| {
        for dialect in DIALECTS {
            let responses = responses(dialect);
            let (status, body) = index.get(&responses);
            let replaced = |text: &[u8]| String::from_utf8_lossy(text).replace('M', &mark);
            let server = runtime.block_on(CannedServer::binary(
                &status.replace('M', "Error"),
                &format!("location: http://127.0.0.1/{}\r\nconnection: close\r\n", "x"),
                replaced(body).as_bytes(),
            ));
            let run = Run::new().with_deltas(stream);
            let request = request(&mark);
            let model = model(&server, dialect);
            if let Err(error) = runtime.block_on(model.chat(&request, &run)) {
                let text = everything(&error);
                prop_assert!(!text.contains(&mark), "{dialect:?} {mark} {status} {}: {text}", replaced(body));
            }
        }
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
