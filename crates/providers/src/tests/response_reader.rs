use std::sync::Arc;

use brigade_core::{ChatReply, ModelError, ModelErrorKind, ModelId, Run, testing::Recorder};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use crate::{
    ChatCompletions, Protocol,
    http::response_head::ResponseHead,
    protocol::{event_sink::EventSink, protocol::Progress, response_reader::ResponseReader},
    tests::events::quirks,
};

const STREAM: &str = concat!(
    ": PROCESSING\n\n",
    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Grüß\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
);

struct Fixture {
    run: Run,
    recorder: Recorder,
    id: ModelId,
}

impl Fixture {
    fn new() -> Self {
        let recorder = Recorder::new();
        let run = Run::builder().deltas(true).observer(Arc::new(recorder.clone())).build();
        Self { run, recorder, id: ModelId::new("account", "asked") }
    }

    fn reader(&self, status: u16) -> ResponseReader<'_, <ChatCompletions as Protocol>::Decoder> {
        let head = ResponseHead::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        let sink = EventSink::new(&self.run, self.id.provider());
        ResponseReader::new(&self.id, head, sink, ChatCompletions::default().decoder())
    }

    fn quirks(&self) -> Vec<&'static str> {
        quirks(&self.recorder)
    }
}

fn read<'a>(status: u16, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<ChatReply, ModelError> {
    let fixture = Fixture::new();
    let mut reader = fixture.reader(status);
    for chunk in chunks {
        if reader.push(Bytes::copy_from_slice(chunk))? == Progress::Done {
            break;
        }
    }
    reader.finish()
}

fn summary(result: &Result<ChatReply, ModelError>) -> String {
    match result {
        Ok(reply) => format!("{:?} {:?} {:?}", reply.message, reply.finish_reason, reply.usage),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_reply_does_not_wait_for_bytes_after_the_terminal_marker() {
    let fixture = Fixture::new();
    let mut reader = fixture.reader(200);
    assert_eq!(reader.push(STREAM.into()).unwrap(), Progress::Done);
    let reply = reader.finish().unwrap();
    assert_eq!((reply.message.text(), &*reply.model), ("Grüß".into(), "m"));
    assert_eq!(reply.usage.unwrap().input_tokens, 3);
    assert!(fixture.quirks().is_empty(), "{:?}", fixture.quirks());
}

#[test]
fn a_broken_connection_is_a_failure_unless_the_answer_was_complete() {
    let cut_at = |end: &str| {
        let fixture = Fixture::new();
        let mut reader = fixture.reader(200);
        reader.push(STREAM[..STREAM.find(end).unwrap()].into()).unwrap();
        (reader.cut("connection reset"), fixture.quirks())
    };
    let (result, _) = cut_at("data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\"");
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Broken);
    assert!(error.details().sent);
    let (result, quirks) = cut_at("data: [DONE]");
    assert_eq!(result.unwrap().usage.unwrap().output_tokens, 2);
    assert_eq!(quirks, ["end_marker_missing", "cut_after_end"]);
}

#[test]
fn an_error_keeps_the_usage_received_before() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n";
    let error = read(200, [stream.as_bytes()]).unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Broken);
    assert_eq!(error.details().usage.unwrap().input_tokens, 7);
    assert_eq!(error.details().model.as_ref().unwrap().to_string(), "account/asked");
}

#[test]
fn a_document_in_place_of_a_stream_may_follow_blanks() {
    let document = br#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let fixture = Fixture::new();
    let mut reader = fixture.reader(200);
    for blank in [b"\n         ".as_slice(), b"\n\n", document] {
        reader.push(Bytes::copy_from_slice(blank)).unwrap();
    }
    assert_eq!(reader.finish().unwrap().message.text(), "hi");
    assert_eq!(fixture.quirks(), ["other_framing", "usage_missing"]);
}

#[test]
fn a_body_that_is_not_an_answer_is_broken() {
    for body in [
        "",
        "   ",
        "OK",
        "<html></html>",
        "{}",
        "[]",
        "null",
        r#"{"choices":[]}"#,
        r#"{"choices":null}"#,
        "data: [DONE]\n\n",
    ] {
        assert_eq!(read(200, [body.as_bytes()]).unwrap_err().kind(), ModelErrorKind::Broken, "{body}");
    }
}

#[test]
fn a_document_whose_answer_is_an_error_is_decoded_once() {
    let fixture = Fixture::new();
    let mut reader = fixture.reader(200);
    let body = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"abort"}]}"#;
    reader.push(Bytes::from_static(body.as_bytes())).unwrap();
    assert_eq!(reader.finish().unwrap_err().kind(), ModelErrorKind::Broken);
    // A second time would report that there are two finish reasons.
    assert_eq!(fixture.quirks(), ["other_framing"]);
}

#[test]
fn only_the_beginning_of_an_error_page_is_read() {
    let fixture = Fixture::new();
    let mut reader = fixture.reader(502);
    let page = Bytes::from(vec![b'x'; 16 << 10]);
    let pushed = (0..100).take_while(|_| reader.push(page.clone()).unwrap() == Progress::More).count();
    assert_eq!(pushed, 3);
    assert_eq!(reader.finish().unwrap_err().kind(), ModelErrorKind::Transient);
}

#[test]
fn an_answer_has_a_maximum_length() {
    let fixture = Fixture::new();
    let mut reader = fixture.reader(200);
    let comment = Bytes::from([b": ".as_slice(), &vec![b'x'; 1 << 20], b"\n"].concat());
    let result = (0..100).try_for_each(|_| reader.push(comment.clone()).map(drop));
    let error = result.unwrap_err();
    // A second attempt would be as long, and as expensive.
    assert_eq!((error.kind(), error.retry()), (ModelErrorKind::Broken, brigade_core::RetryAdvice::Never));
}

proptest! {
    #[test]
    fn the_answer_does_not_depend_on_where_the_bytes_are_split(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
        let mut cuts = cuts;
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]);
        prop_assert_eq!(summary(&read(200, pieces)), summary(&read(200, [STREAM.as_bytes()])));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), status in 200_u16..600) {
        let _ = read(status, bytes.chunks(3));
    }

    #[test]
    fn a_damaged_stream_never_panics(place in 0..STREAM.len(), byte in any::<u8>()) {
        let mut bytes = STREAM.as_bytes().to_vec();
        bytes[place] = byte;
        let _ = read(200, [bytes.as_slice()]);
    }
}
