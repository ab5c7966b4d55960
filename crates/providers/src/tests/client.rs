use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_compression::{
    Level,
    tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder},
};
use brigade_core::{ChatModel, ChatRequest, Embedder, Event, ModelErrorKind, Run, Settings, testing::Recorder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::Instant,
};

use super::dialects::{Answer, DIALECTS, Dialect};
use crate::{AccountError, Anthropic, OpenAi, OpenAiResponses, Server, http::account::MAX_BODY_BYTES};

const ANSWER: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

/// A server that sends the same response to every request, and records the requests.
pub(crate) struct CannedServer {
    url: String,
    requests: tokio::sync::mpsc::UnboundedReceiver<String>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl CannedServer {
    async fn new(status: &str, headers: &str, body: &str) -> Self {
        Self::binary(status, headers, body.as_bytes()).await
    }

    pub(crate) async fn binary(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        Self::raw([head.as_bytes(), body].concat()).await
    }

    async fn raw(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), answer.clone());
                counted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let mut request = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = stream.read(&mut request).await {
                        let head = String::from_utf8_lossy(&request[..length]).into_owned();
                        if head.starts_with("POST") || head.starts_with("GET") {
                            sender.send(head).unwrap();
                            stream.write_all(&answer).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { url, requests, connections, _tasks: tasks }
    }

    async fn answering() -> Self {
        Self::new("200 OK", "", ANSWER).await
    }
}

#[tokio::test]
async fn a_request_has_the_key_and_the_accounts_headers() {
    let mut server = CannedServer::answering().await;
    let account =
        OpenAi::builder().base_url(&server.url).query("api-version=1").api_key("sk-planted").header("x-org", "o");
    let account = account.propagate_trace(true).agent_header(true).build().unwrap();
    let run = Run::new();
    let run = run.child("researcher", brigade_core::Budget::unlimited()).unwrap();
    account.model("m").chat(&ChatRequest::new("?"), &run).await.unwrap();
    let request = server.requests.recv().await.unwrap();
    assert!(request.starts_with("POST /base/chat/completions?api-version=1 HTTP/1.1"), "{request}");
    for header in [
        "authorization: Bearer sk-planted",
        "content-type: application/json",
        "x-org: o",
        "x-brigade-agent: researcher",
        &format!("traceparent: 00-{}-", run.trace()),
        &format!("x-client-request-id: {}", run.id()),
    ] {
        assert!(request.contains(header), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn optional_headers_are_not_sent_by_default() {
    let mut server = CannedServer::answering().await;
    let account = OpenAi::builder().base_url(&server.url).build().unwrap();
    account.model("m").chat(&ChatRequest::new("?"), &Run::new()).await.unwrap();
    let request = server.requests.recv().await.unwrap();
    for header in ["authorization", "traceparent", "x-brigade-agent"] {
        assert!(!request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn some_servers_expect_the_key_in_their_own_header() {
    let mut server = CannedServer::answering().await;
    let azure = OpenAi::server(Server::Azure).base_url(&server.url).api_key("k").build().unwrap();
    azure.model("m").chat(&ChatRequest::new("?"), &Run::new()).await.unwrap();
    assert!(server.requests.recv().await.unwrap().contains("api-key: k"));
    let anthropic = Anthropic::builder().base_url(&server.url).api_key("k").build().unwrap();
    let _ = anthropic.model("m").chat(&ChatRequest::new("?"), &Run::new()).await;
    assert!(server.requests.recv().await.unwrap().contains("x-api-key: k"));
}

/// What a request to this base URL asks for.
async fn asked<P: crate::Protocol>(builder: crate::ClientBuilder<P>, suffix: &str) -> String {
    let mut server = CannedServer::answering().await;
    let host = server.url.trim_end_matches("/base").to_owned();
    let account = builder.base_url(format!("{host}{suffix}")).build().unwrap();
    let _ = account.model("m").chat(&ChatRequest::new("?"), &Run::new()).await;
    server.requests.recv().await.unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_base_url_is_taken_in_every_form_in_which_people_write_it() {
    for suffix in ["", "/", "/v1", "/v1/", "/v1/chat/completions"] {
        assert_eq!(asked(OpenAi::builder(), suffix).await, "/v1/chat/completions", "{suffix}");
    }
    for suffix in ["", "/v1", "/v1/responses"] {
        assert_eq!(asked(OpenAiResponses::builder(), suffix).await, "/v1/responses", "{suffix}");
    }
    for suffix in ["", "/", "/v1", "/v1/", "/v1/messages"] {
        assert_eq!(asked(Anthropic::builder(), suffix).await, "/v1/messages", "{suffix}");
    }
    assert_eq!(asked(Anthropic::builder(), "/gateway/v1").await, "/gateway/v1/messages");
    assert_eq!(asked(OpenAi::server(Server::Ollama), "").await, "/v1/chat/completions");
    assert_eq!(asked(OpenAi::server(Server::OpenRouter), "").await, "/api/v1/chat/completions");
    assert_eq!(asked(OpenAi::server(Server::Azure), "").await, "/openai/v1/chat/completions");
    assert_eq!(asked(OpenAi::server(Server::DeepSeek), "").await, "/chat/completions");
    assert_eq!(asked(OpenAi::compatible("own", ""), "").await, "/chat/completions");
    assert_eq!(asked(OpenAi::compatible("own", ""), "/v2").await, "/v2/chat/completions");
}

#[tokio::test]
async fn the_query_of_a_base_url_follows_the_path() {
    for suffix in ["", "/", "/chat/completions"] {
        let deployment = format!("/openai/deployments/gpt-5-mini{suffix}?api-version=2024-10-21");
        assert_eq!(
            asked(OpenAi::server(Server::Azure), &deployment).await,
            "/openai/deployments/gpt-5-mini/chat/completions?api-version=2024-10-21"
        );
    }
    assert_eq!(asked(OpenAi::builder().query("b=2"), "/v1?a=1").await, "/v1/chat/completions?a=1&b=2");
    assert_eq!(asked(Anthropic::builder(), "/v1?a=1").await, "/v1/messages?a=1");
}

#[tokio::test]
async fn an_error_that_may_be_due_to_a_wrong_address_names_it_without_its_query() {
    let server = CannedServer::new("404 Not Found", "", r#"{"detail":"Not Found"}"#).await;
    let url = format!("{}?key=planted", server.url);
    let openai = OpenAi::builder().base_url(&url).build().unwrap();
    let anthropic = Anthropic::builder().base_url(&url).build().unwrap();
    let responses = OpenAiResponses::builder().base_url(&url).build().unwrap();
    let (request, run) = (ChatRequest::new("?"), Run::new());
    let errors = [
        (openai.model("m").chat(&request, &run).await.unwrap_err(), "/chat/completions"),
        (anthropic.model("m").chat(&request, &run).await.unwrap_err(), "/v1/messages"),
        (responses.model("m").chat(&request, &run).await.unwrap_err(), "/responses"),
        (openai.embeddings("m").embed(&["?"], &run).await.unwrap_err(), "/embeddings"),
        (openai.probe().await.unwrap_err(), "/models"),
    ];
    for (error, path) in errors {
        assert!(error.to_string().contains(&format!("at {}{path}", server.url)), "{error}");
        assert!(!format!("{error:?}").contains("planted"), "{error:?}");
    }
}

#[test]
fn an_address_with_credentials_or_a_fragment_is_refused_without_printing_it() {
    for (url, what) in [
        ("https://user:planted@a.test/v1", "user name or password"),
        ("https://planted@a.test", "user name or password"),
        ("https://a.test/v1#planted", "fragment"),
        ("ftp://user:planted@a.test", "base URL"),
        ("a.test?key=planted", "base URL"),
    ] {
        let builder = OpenAi::builder().base_url(url);
        assert!(!format!("{builder:?}").contains("planted"), "{builder:?}");
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    }
    let account = OpenAi::builder().base_url("https://a.test/v1?key=planted").build().unwrap();
    let shown = format!("{account:?} {:?} {:?}", account.model("m"), account.embeddings("m"));
    assert!(!shown.contains("planted"), "{shown}");
}

#[tokio::test]
async fn a_setting_that_the_model_refuses_is_left_out_and_counted() {
    let mut server = CannedServer::answering().await;
    let model = OpenAi::builder().base_url(&server.url).build().unwrap().model("gpt-5-mini").temperature(0.5);
    let recorder = Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).build();
    model.chat(&ChatRequest::new("?"), &run).await.unwrap();
    assert!(!server.requests.recv().await.unwrap().contains("temperature"));
    let is_counted = |event: &Event| matches!(event, Event::WireQuirk { kind, .. } if kind == "left_out_temperature");
    assert_eq!(recorder.count(is_counted), 1);
}

#[tokio::test]
async fn a_setting_beyond_what_the_server_takes_is_reduced_and_counted_under_a_constant_name() {
    let texts: Vec<String> = (0..20).map(|number| format!("stop {number}")).collect();
    let mut settings = Settings::default().temperature(Some(1.8));
    settings.stop_sequences = texts;
    let request = ChatRequest::new("?").settings(settings);
    for (dialect, temperature, stops) in
        [(Dialect::Chat, 1.8, 4), (Dialect::Responses, 1.8, 0), (Dialect::Messages, 1.0, 20)]
    {
        let mut server = CannedServer::answering().await;
        let recorder = Recorder::new();
        let run = Run::builder().observer(Arc::new(recorder.clone())).build();
        // Whether the answer is one of the dialect does not matter.
        let _ = model(&server, dialect).chat(&request, &run).await;
        let sent = server.requests.recv().await.unwrap();
        let body: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
        let rounded = (body["temperature"].as_f64().unwrap() * 10.0).round() / 10.0;
        let sent_stops = body.get("stop").or(body.get("stop_sequences")).and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!((rounded, sent_stops), (temperature, stops), "{dialect:?}");
        let quirk = |name: &str| {
            recorder.count(|event| matches!(event, Event::WireQuirk { kind: Cow::Borrowed(kind), .. } if *kind == name))
        };
        assert_eq!(quirk("reduced_temperature"), usize::from(temperature < 1.8), "{dialect:?}");
        assert_eq!(quirk("reduced_stop"), usize::from(stops == 4), "{dialect:?}");
        assert_eq!(quirk("left_out_stop"), usize::from(stops == 0), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_probe_tells_an_api_from_a_web_page() {
    for (body, is_json) in [
        ("{\"data\":[]}", true),
        ("\u{feff} [1]", true),
        ("<!doctype html><html></html>", false),
        ("It works!", false),
        ("", false),
    ] {
        let server = CannedServer::new("200 OK", "", body).await;
        let probe = OpenAi::builder().base_url(&server.url).build().unwrap().probe().await.unwrap();
        assert_eq!(probe.is_json, is_json, "{body}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = CannedServer::new("307 Temporary Redirect", "location: http://127.0.0.1:1/v1\r\n", "").await;
    for dialect in DIALECTS {
        for deltas in [true, false] {
            let run = Run::new().with_deltas(deltas);
            let error = model(&server, dialect).chat(&ChatRequest::new("?"), &run).await.unwrap_err();
            assert_eq!((error.kind(), error.details().status), (ModelErrorKind::NoSuchModel, Some(307)), "{dialect:?}");
            assert!(error.to_string().contains("redirects to http://127.0.0.1:1;"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_api_key_is_never_in_an_error_or_in_debug_output() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-planted."}}"#;
    let server = CannedServer::new("401 Unauthorized", "", body).await;
    let builder = OpenAi::builder().base_url(&server.url).api_key("sk-planted");
    let builder_text = format!("{builder:?}");
    let account = builder.build().unwrap();
    let model = account.model("m");
    let error = model.chat(&ChatRequest::new("?"), &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Auth);
    let probe = account.probe().await.unwrap_err();
    let text = format!("{builder_text} {account:?} {model:?} {error:?} {error} {probe:?}");
    assert!(!text.contains("sk-planted"), "{text}");
}

#[tokio::test]
async fn one_connection_serves_many_calls_streamed_or_not() {
    let chunk = r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let events = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let streaming =
        CannedServer::raw(format!("{head}\r\n{:x}\r\n{events}\r\n0\r\n\r\n", events.len()).into_bytes()).await;
    for (server, deltas) in [(CannedServer::answering().await, false), (streaming, true)] {
        let model = OpenAi::builder().base_url(&server.url).build().unwrap().model("m");
        for _ in 0..3 {
            let run = Run::new().with_deltas(deltas);
            assert_eq!(model.chat(&ChatRequest::new("?"), &run).await.unwrap().message.text(), "hi");
            // A task puts the connection back into the pool.
            tokio::task::yield_now().await;
        }
        assert_eq!(server.connections.load(Ordering::Relaxed), 1, "deltas: {deltas}");
    }
}

/// Compresses a body in one of the encodings that the client accepts.
async fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = match encoding {
        "gzip" => GzipEncoder::with_quality(body, Level::Fastest).read_to_end(&mut bytes).await,
        "deflate" => ZlibEncoder::with_quality(body, Level::Fastest).read_to_end(&mut bytes).await,
        "br" => BrotliEncoder::with_quality(body, Level::Fastest).read_to_end(&mut bytes).await,
        "zstd" => ZstdEncoder::with_quality(body, Level::Fastest).read_to_end(&mut bytes).await,
        other => panic!("{other}"),
    };
    bytes
}

/// A model of this protocol at the server.
pub(crate) fn model(server: &CannedServer, dialect: Dialect) -> Box<dyn ChatModel> {
    let url = &server.url;
    match dialect {
        Dialect::Chat => Box::new(OpenAi::builder().base_url(url).build().unwrap().model("m")),
        Dialect::Responses => Box::new(OpenAiResponses::builder().base_url(url).build().unwrap().model("m")),
        Dialect::Messages => Box::new(Anthropic::builder().base_url(url).build().unwrap().model("m")),
    }
}

/// An answer as a stream, and as a document.
fn bodies(dialect: Dialect) -> [Vec<u8>; 2] {
    let answer = Answer::text(&["one ", "two"]);
    let (events, end) = answer.events(dialect);
    [[events.concat(), end].concat(), answer.document(dialect)]
}

#[tokio::test]
async fn compressed_answers_are_decoded() {
    for dialect in DIALECTS {
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let header = format!("content-encoding: {encoding}\r\n");
            for (body, deltas) in bodies(dialect).iter().zip([true, false]) {
                let server = CannedServer::binary("200 OK", &header, &encoded(encoding, body).await).await;
                let run = Run::new().with_deltas(deltas);
                let reply = model(&server, dialect).chat(&ChatRequest::new("?"), &run).await.unwrap();
                assert_eq!(reply.message.text(), "one two", "{dialect:?} {encoding} {deltas}");
            }
            let mut server = CannedServer::binary("200 OK", &header, b"not compressed").await;
            let error = model(&server, dialect).chat(&ChatRequest::new("?"), &Run::new()).await.unwrap_err();
            assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Broken, true), "{dialect:?} {encoding}");
            let request = server.requests.recv().await.unwrap();
            let accepted = request.lines().find(|line| line.starts_with("accept-encoding:")).unwrap();
            assert!(accepted.contains(encoding), "{accepted}");
        }
    }
}

#[tokio::test]
async fn an_answer_may_have_hundreds_of_headers() {
    let headers = "x-gateway: 1\r\n".repeat(150);
    for dialect in DIALECTS {
        for (body, deltas) in bodies(dialect).iter().zip([true, false]) {
            let server = CannedServer::binary("200 OK", &headers, body).await;
            let run = Run::new().with_deltas(deltas);
            let reply = model(&server, dialect).chat(&ChatRequest::new("?"), &run).await.unwrap();
            assert_eq!(reply.message.text(), "one two", "{dialect:?} {deltas}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_its_terminal_marker_is_whole_after_a_short_grace() {
    for (dialect, usage, seconds) in [(Dialect::Chat, true, 1), (Dialect::Chat, false, 5), (Dialect::Messages, true, 1)]
    {
        let (mut events, _) = Answer::text(&["one ", "two"]).events(dialect);
        if !usage {
            events.retain(|event| !String::from_utf8_lossy(event).contains("usage"));
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        // The socket stays open.
        let server = CannedServer::raw([head.as_slice(), &events.concat()].concat()).await;
        let (model, request, run) = (model(&server, dialect), ChatRequest::new("?"), Run::new().with_deltas(true));
        tokio::time::pause();
        let started = Instant::now();
        let reply = model.chat(&request, &run).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), seconds, "{dialect:?}");
        tokio::time::resume();
        assert_eq!((&*reply.message.text(), reply.usage.is_some()), ("one two", usage), "{dialect:?}");
    }
}

#[tokio::test]
async fn the_limit_of_an_answer_counts_decoded_bytes() {
    let body = encoded("gzip", &vec![b' '; MAX_BODY_BYTES + 1]).await;
    assert!(body.len() < MAX_BODY_BYTES / 100);
    let server = CannedServer::binary("200 OK", "content-encoding: gzip\r\n", &body).await;
    let model = OpenAi::builder().base_url(&server.url).build().unwrap().model("m");
    let error = model.chat(&ChatRequest::new("?"), &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Broken);
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn invalid_configuration_is_refused_at_once() {
    for url in ["", "api.openai.com", "ftp://x", "http://"] {
        assert!(matches!(OpenAi::builder().base_url(url).build(), Err(AccountError::BaseUrl(_))), "{url}");
    }
    assert!(matches!(OpenAi::server(Server::Azure).build(), Err(AccountError::BaseUrl(_))));
    let error = OpenAi::builder().api_key("line\nbreak").build().unwrap_err();
    assert_eq!(error.to_string(), AccountError::Header("authorization".to_owned()).to_string());
}

#[test]
fn every_server_name_parses() {
    for server in Server::ALL {
        assert_eq!(server.name().parse(), Ok(server));
    }
    assert!("unknown".parse::<Server>().unwrap_err().to_string().contains("openrouter"));
}

#[tokio::test]
async fn a_call_in_flight_is_small() {
    let model = OpenAi::builder().base_url("http://127.0.0.1:9").build().unwrap().model("m");
    let (request, run) = (ChatRequest::new("?"), Run::new());
    let call = model.chat(&request, &run);
    // The futures around this one hold it twice each, so a large one would take ten times its size.
    assert!(size_of_val(&*call) < 1_024, "{} bytes", size_of_val(&*call));
}
