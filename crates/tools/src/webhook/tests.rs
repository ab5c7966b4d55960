use std::{collections::BTreeMap, sync::Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Received = Arc<Mutex<Vec<(BTreeMap<String, String>, String)>>>;

/// A receiver that answers with these statuses, and then with 204.
struct Receiver {
    url: String,
    received: Received,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Received::default();
        let seen = Arc::clone(&received);
        let serving = JoinSet::from_iter([async move {
            let mut statuses = statuses.iter().copied();
            while let Ok((mut connection, _)) = listener.accept().await {
                let (mut text, mut buffer) = (String::new(), [0; 4096]);
                let (headers, body) = loop {
                    let count = connection.read(&mut buffer).await.unwrap();
                    text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let headers = head.lines().filter_map(|line| line.split_once(": "));
                    let headers: BTreeMap<_, _> = headers.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                    if headers.get("content-length").and_then(|length| length.parse().ok()) == Some(body.len()) {
                        break (headers, body.to_owned());
                    }
                };
                seen.lock().unwrap().push((headers, body));
                let status = statuses.next().unwrap_or(204);
                let location = if status == 302 { "location: http://127.0.0.1:9/\r\n" } else { "" };
                let answer = format!("HTTP/1.1 {status} x\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        }]);
        Self { url, received, _serving: serving }
    }

    fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

fn private() -> EgressGuard {
    EgressGuard::default().allow_private(true)
}

/// Sends a message, and returns the webhook after it was delivered or given up.
async fn delivered(url: &str) -> Webhook {
    let (webhook, sender) = Webhook::new(url, SECRET, private()).unwrap();
    let kept = webhook.failed.clone();
    webhook.send("msg_1", r#"{"run":"1"}"#);
    let (queue, _) = mpsc::channel(1);
    drop(webhook);
    sender.run().await;
    Webhook { queue, failed: kept }
}

#[test]
fn a_signature_is_that_of_the_specification() {
    // The example of the libraries of Standard Webhooks.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(&SECRET[SECRET_PREFIX.len()..]).unwrap());
    let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn a_message_is_posted_with_its_id_its_time_and_a_signature_of_both() {
    let receiver = Receiver::start(&[]).await;
    assert_eq!(delivered(&receiver.url).await.failed(), 0);
    let messages = receiver.received.lock().unwrap();
    let [(headers, body)] = &messages[..] else { panic!("one message: {messages:?}") };
    assert_eq!(
        (body.as_str(), &*headers["content-type"], &*headers["webhook-id"]),
        (r#"{"run":"1"}"#, "application/json", "msg_1")
    );
    let seconds: u64 = headers["webhook-timestamp"].parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(seconds) < 60, "{seconds}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(&SECRET[SECRET_PREFIX.len()..]).unwrap());
    assert_eq!(headers["webhook-signature"], signature(&key, "msg_1", seconds, body));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_again_under_its_id_while_the_receiver_fails() {
    let receiver = Receiver::start(&[503, 429]).await;
    let began = Instant::now();
    assert_eq!(delivered(&receiver.url).await.failed(), 0);
    let messages = receiver.received.lock().unwrap();
    assert!(messages.len() == 3 && messages.iter().all(|(headers, _)| headers["webhook-id"] == "msg_1"));
    assert!(began.elapsed() >= Duration::from_secs(6), "it waits between them");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_or_redirected_is_not_sent_again_and_counted() {
    for statuses in [&[400][..], &[302]] {
        let receiver = Receiver::start(statuses).await;
        assert_eq!((delivered(&receiver.url).await.failed(), receiver.count()), (1, 1), "{statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_after_four_times() {
    let receiver = Receiver::start(&[500, 500, 500, 500]).await;
    assert_eq!((delivered(&receiver.url).await.failed(), receiver.count()), (1, 4));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(delivered(&format!("http://{closed}/")).await.failed(), 1);
}

#[tokio::test]
async fn a_full_queue_drops_messages_and_never_waits() {
    let (webhook, _sender) = Webhook::new("https://hooks.example.com/", SECRET, EgressGuard::default()).unwrap();
    for number in 0..MAX_QUEUED + 3 {
        webhook.send(number.to_string(), "{}");
    }
    assert_eq!(webhook.failed(), 3);
}

#[tokio::test]
async fn private_addresses_and_wrong_secrets_are_refused_and_no_error_has_the_secret() {
    let refused = |url: &str, secret: &str| Webhook::new(url, secret, EgressGuard::default()).unwrap_err().to_string();
    for url in ["http://127.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/", "https://10.0.0.1/x"] {
        assert!(refused(url, SECRET).contains("are denied"), "{url}");
    }
    for url in ["", "hooks.example.com", "ftp://hooks.example.com/", "https://ada:pw@hooks.example.com/"] {
        assert!(!refused(url, SECRET).contains("MfKQ"), "{url}");
    }
    for secret in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_not base64!"] {
        let error = refused("https://hooks.example.com/", secret);
        assert!(error.contains("openssl rand -base64 32") && !error.contains("c2hvcnQ"), "{error}");
    }
    // A name that resolves to this machine is refused when it is resolved.
    let (webhook, sender) = Webhook::new("http://localhost:9/", SECRET, EgressGuard::default()).unwrap();
    let failure = sender.target.post(&Message { id: "1".to_owned(), body: "{}".to_owned() }).await.err().unwrap();
    assert!(failure.reason.contains("are denied"), "{}", failure.reason);
    drop(webhook);
}
