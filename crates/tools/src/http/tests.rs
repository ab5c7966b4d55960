use std::sync::{Arc, Mutex};

use brigade_core::{Effect, RawJson, Run};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::*;

/// A local server that records the requests it gets.
struct LocalServer {
    origin: String,
    requests: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

/// The status of an answer, and its `Location` header if it has one.
type Answer = (u16, Option<String>);
type Answers = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// A listener that no server uses yet, so that a test knows its origin before it decides on the answers.
struct Bound {
    listener: TcpListener,
    origin: String,
}

async fn bind() -> Bound {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    Bound { listener, origin }
}

impl LocalServer {
    fn start(bound: Bound, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let Bound { listener, origin } = bound;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen): (Answers, _) = (Arc::new(answer), Arc::clone(&requests));
        let serving = JoinSet::from_iter([async move {
            while let Ok((connection, _)) = listener.accept().await {
                serve(connection, &answers, &seen).await;
            }
        }]);
        Self { origin, requests, _serving: serving }
    }

    /// Returns the requests since the last call.
    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

async fn serve(mut connection: TcpStream, answers: &Answers, requests: &Mutex<Vec<String>>) {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = connection.read(&mut buffer).await.unwrap_or(0);
        request.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let whole = request.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= body_length(head));
        if count == 0 || whole {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    requests.lock().unwrap().push(request);
    let (status, location) = answers(&path);
    let location = location.map(|location| format!("location: {location}\r\n")).unwrap_or_default();
    let response = format!("HTTP/1.1 {status} X\r\n{location}content-length: 2\r\nconnection: close\r\n\r\nok");
    let _ = connection.write_all(response.as_bytes()).await;
}

fn body_length(head: &str) -> usize {
    let mut lengths =
        head.lines().filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    lengths.next_back().unwrap_or(0)
}

fn http_tool(url: &str) -> HttpToolBuilder {
    let schema = r#"{"properties":{"id":{},"host":{}}}"#;
    HttpTool::builder(ToolSpec::new("http", "", RawJson::parse(schema.to_owned()).unwrap()), url)
}

/// Calls a tool whose headers and body hold the word `canary`.
async fn call(method: &Method, url: &str) -> Result<ToolOutput, String> {
    let tool = http_tool(url)
        .method(method.clone())
        .secret_header("authorization", "Bearer canary")
        .secret_header("x-api-key", "canary")
        .secret_header("cookie", "session=canary")
        .header("x-plain", "canary")
        .egress(EgressGuard::default().allow_private(true))
        .propagate_trace(true)
        .build()
        .unwrap();
    tool.call(json!({ "note": "canary" }), &Run::new()).await.map_err(|error| error.to_string())
}

const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Two servers. `/direct` at the first one redirects to the second one, and `/around` to a path there that redirects
/// within the second server and then back to the first.
async fn two_origins(status: u16) -> (LocalServer, LocalServer) {
    let (home, foreign) = (bind().await, bind().await);
    let (home_origin, foreign_origin) = (home.origin.clone(), foreign.origin.clone());
    let home = LocalServer::start(home, move |path| match path {
        "/direct" => (status, Some(format!("{foreign_origin}/end"))),
        "/around" => (status, Some(format!("{foreign_origin}/first"))),
        "/within" => (status, Some("/end".to_owned())),
        _ => (200, None),
    });
    let foreign = LocalServer::start(foreign, move |path| match path {
        "/first" => (status, Some("/second".to_owned())),
        "/second" => (status, Some(format!("{home_origin}/end"))),
        _ => (200, None),
    });
    (home, foreign)
}

fn assert_without_headers_and_body(requests: &[String], case: &str) {
    for request in requests {
        assert!(!request.contains("canary") && !request.contains("traceparent"), "{case}: {request}");
        assert!(request.ends_with("\r\n\r\n"), "{case}: a body in {request}");
    }
}

#[tokio::test]
async fn no_redirect_carries_a_header_or_a_body_off_the_origin() {
    for status in REDIRECTS {
        let (home, foreign) = two_origins(status).await;
        for (method, path) in METHODS.iter().flat_map(|method| [(method, "/direct"), (method, "/around")]) {
            let case = format!("{method} {status} {path}");
            let result = call(method, &format!("{}{path}", home.origin)).await;
            let (to_home, to_foreign) = (home.take_requests(), foreign.take_requests());
            assert!(to_home[0].contains("canary"), "{case}");
            assert_without_headers_and_body(&to_home[1..], &case);
            assert_without_headers_and_body(&to_foreign, &case);
            match result {
                Ok(_) => assert_eq!(to_foreign.len(), if path == "/direct" { 1 } else { 2 }, "{case}"),
                Err(error) => {
                    assert!(to_foreign.is_empty() && !matches!(*method, Method::GET | Method::HEAD), "{case}: {error}");
                    assert!(error.contains(&format!("redirects the request to {}", foreign.origin)), "{case}: {error}");
                    assert!(!error.contains("canary"), "{case}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_the_headers() {
    for status in REDIRECTS {
        let (home, _) = two_origins(status).await;
        for method in METHODS {
            call(&method, &format!("{}/within", home.origin)).await.unwrap();
            let [_, second] = home.take_requests().try_into().unwrap();
            let becomes_get = method != Method::HEAD && (status == 303 || (status < 303 && method == Method::POST));
            let expected = if becomes_get { Method::GET } else { method.clone() };
            let case = format!("{method} {status}: {second}");
            assert!(second.starts_with(&format!("{expected} /end ")) && second.contains("x-api-key: canary"), "{case}");
            assert_eq!(second.ends_with(r#"{"note":"canary"}"#), expected != Method::GET, "{case}");
        }
    }
}

#[tokio::test]
async fn a_tool_follows_three_redirects_and_no_more() {
    let count = |server: &LocalServer| server.take_requests().len();
    let server = LocalServer::start(bind().await, |path| match path[1..].parse() {
        Ok(0) => (200, None),
        Ok(left @ 1_u8..) => (302, Some(format!("/{}", left - 1))),
        Err(_) => (302, None),
    });
    call(&Method::GET, &format!("{}/3", server.origin)).await.unwrap();
    assert_eq!(count(&server), 4);
    let error = call(&Method::GET, &format!("{}/4", server.origin)).await.unwrap_err();
    assert_eq!((error.as_str(), count(&server)), ("more than 3 redirects; use the URL of the last redirect", 4));
    let error = call(&Method::GET, &format!("{}/nowhere", server.origin)).await.unwrap_err();
    assert!(error.starts_with("the server answered 302"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_an_address_that_is_not_a_web_address_is_refused() {
    for location in ["ftp://example.com/", "http://user:secret@127.0.0.1/", "http://169.254.169.254/", "http://[::/"] {
        let server = LocalServer::start(bind().await, move |_| (302, Some(location.to_owned())));
        let error = call(&Method::GET, &server.origin).await.unwrap_err();
        assert!(error.contains("denied") || error.contains("address that is not valid"), "{location}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(server.take_requests().len(), 1);
    }
}

#[test]
fn an_argument_stays_within_its_path_segment() {
    assert_eq!(percent_encode("a/../b?c=d&e#f").unwrap(), "a%2F..%2Fb%3Fc%3Dd%26e%23f");
    assert!(percent_encode("..").is_err());
}

#[test]
fn the_host_is_fixed() {
    assert!(http_tool("https://example.com/users/{id}").build().is_ok());
    for url in ["https://{host}/", "https://example.com{rest}", "{url}", "example.com/{x}", "http://10.0.0.1/{x}"] {
        assert!(http_tool(url).build().is_err(), "{url}");
    }
}

#[test]
fn secret_headers_are_not_shown() {
    let builder = http_tool("https://example.com/").secret_header("authorization", "Bearer canary");
    assert!(!format!("{builder:?}").contains("canary"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("canary"));
    let error = http_tool("https://example.com/").secret_header("x", "canary\n").build().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[tokio::test]
async fn a_keyed_call_sends_the_key_under_which_it_may_be_repeated() {
    let run = crate::key::fixture::run_of_a_call().await;
    let key = format!("idempotency-key: {}\r\n", run.idempotency_key().unwrap());
    let server = LocalServer::start(bind().await, |_| (200, None));
    for (effect, is_sent) in [(Effect::Keyed, true), (Effect::Repeatable, false), (Effect::Once, false)] {
        let mut tool = http_tool(&server.origin);
        tool.spec.effect = effect;
        let tool = tool.egress(EgressGuard::default().allow_private(true)).build().unwrap();
        tool.call(json!({}), &run).await.unwrap();
        let [request] = &server.take_requests()[..] else { panic!("one request") };
        assert_eq!(request.contains(&key), is_sent, "{effect:?}: {request}");
    }
}
