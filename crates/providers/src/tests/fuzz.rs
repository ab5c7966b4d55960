//! Damaged responses.
//!
//! Streams and documents of all protocols are damaged and split into chunks at random. No response may cause a panic, the
//! chunks must not change the result, and every decoded reply must be accepted by every encoder. Runs for
//! `BRIGADE_FUZZ_SECONDS` seconds; `cargo xtask fuzz` sets it.

use std::{sync::LazyLock, time::Duration};

use brigade_core::{ChatReply, ChatRequest, Message, ModelError, ModelId, Run, ToolResult, Transcript};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    Anthropic, ChatCompletions, Messages, OpenAi, OpenAiResponses, Protocol, Responses,
    http::response_head::ResponseHead,
    protocol::{event_sink::EventSink, protocol::Progress, response_reader::ResponseReader},
};

const SEEDS: [&str; 7] = [
    concat!(
        ": PROCESSING\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Grüß\"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\",\"reasoning_details\":[{\"type\":\"t\",\"index\":0,\"text\":\"hm\"}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
    ),
    "\n {\"choices\":[{\"message\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"text\":\"t\"}]},{\"type\":\"text\",\"text\":\"Hi\"}],\"refusal\":null},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":9}}",
    concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"ab\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\":1}\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":5}}\n\n",
        "data: {\"type\":\"message_stop\"   }\n\n",
    ),
    "{\"content\":[{\"type\":\"text\",\"text\":\"Hi\",\"citations\":[{\"a\":1}]},{\"type\":\"x\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1,\"iterations\":[{\"type\":\"compaction\"}]}}",
    concat!(
        "data: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\"}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n",
        "data: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"e\"}}\n\n",
        "data: {\"type\":\"response.output_item.done\",\"output_index\":2,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"\"}}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n",
    ),
    "{\"id\":\"r\",\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]},{\"type\":\"web_search_call\"}]}",
    "[{\"error\":{\"code\":429,\"message\":\"wait\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[{\"a\":1}]},\"request_id\":null}]",
];

/// Texts with a meaning in JSON or in an event stream, inserted at random.
const TOKENS: [&str; 24] = [
    "\n",
    "\r",
    "\r\n\r\n",
    "data: ",
    "event: error\n",
    ": ",
    "data: [DONE]\n\n",
    "\u{feff}",
    "null",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "1e999",
    "\"",
    "\\",
    "\\ud800",
    "}",
    "]",
    ",",
    "\"error\":{\"message\":\"m\"},",
    "\"index\":7,",
    "\"type\":\"x\",",
    "[[[[",
];

#[derive(Debug, Clone)]
enum Damage {
    Insert(Index, &'static str),
    Overwrite(Index, u8),
    Cut(Index, usize),
    Repeat(Index, usize),
    End(Index),
}

impl Damage {
    fn strategy() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (any::<Index>(), prop::sample::select(&TOKENS[..])).prop_map(|(position, token)| Self::Insert(position, token)),
            2 => (any::<Index>(), any::<u8>()).prop_map(|(position, byte)| Self::Overwrite(position, byte)),
            3 => (any::<Index>(), 1_usize..40).prop_map(|(position, length)| Self::Cut(position, length)),
            2 => (any::<Index>(), 1_usize..200).prop_map(|(position, length)| Self::Repeat(position, length)),
            1 => any::<Index>().prop_map(Self::End),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let (Self::Insert(position, _)
        | Self::Overwrite(position, _)
        | Self::Cut(position, _)
        | Self::Repeat(position, _)
        | Self::End(position)) = self;
        let position = position.index(bytes.len() + 1);
        let until = |length: &usize| (position + length).min(bytes.len());
        match self {
            Self::Insert(_, token) => drop(bytes.splice(position..position, token.bytes())),
            Self::Overwrite(_, byte) => bytes.iter_mut().skip(position).take(1).for_each(|old| *old = *byte),
            Self::Cut(_, length) => drop(bytes.drain(position..until(length))),
            Self::Repeat(_, length) => {
                let again = bytes[position..until(length)].to_vec();
                drop(bytes.splice(position..position, again));
            }
            Self::End(_) => bytes.truncate(position),
        }
    }
}

/// Reads a response in chunks that end at `cuts`.
fn read<P: Protocol>(protocol: &P, status: u16, body: &[u8], cuts: &[usize]) -> Result<ChatReply, ModelError> {
    let run = Run::builder().deltas(true).build();
    let id = ModelId::new("account", "asked");
    let head = ResponseHead::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
    let mut reader = ResponseReader::new(&id, head, EventSink::new(&run, id.provider()), protocol.decoder());
    let ends = cuts.iter().copied().chain([body.len()]);
    let mut start = 0;
    for end in ends {
        if reader.push(Bytes::copy_from_slice(&body[start..end]))? == Progress::Done {
            break;
        }
        start = end;
    }
    reader.finish()
}

/// Checks that every client can encode a decoded reply.
fn encode_everywhere(reply: ChatReply) {
    static CLIENTS: LazyLock<(OpenAi, OpenAiResponses, Anthropic)> = LazyLock::new(|| {
        (
            OpenAi::builder().build().unwrap(),
            OpenAiResponses::builder().build().unwrap(),
            Anthropic::builder().build().unwrap(),
        )
    });
    let mut transcript = Transcript::new();
    transcript.push(Message::user("?")).unwrap();
    transcript.push(reply.message).unwrap();
    let results: Vec<_> = transcript.open_calls().into_iter().map(|call| ToolResult::error(call, "no")).collect();
    transcript.answer_calls(results).unwrap();
    let request = ChatRequest::default().transcript(transcript);
    let (chat, responses, messages) = &*CLIENTS;
    let bodies = [
        chat.model("m").encode(&request, false),
        responses.model("m").encode(&request, false),
        messages.model("m").encode(&request, false),
    ];
    for body in bodies {
        serde_json::from_slice::<&RawValue>(&body.unwrap()).unwrap();
    }
}

fn check<P: Protocol>(protocol: &P, status: u16, body: &[u8], cuts: &[usize]) {
    let whole = read(protocol, status, body, &[]);
    let chunked = read(protocol, status, body, cuts);
    assert_eq!(format!("{whole:?}"), format!("{chunked:?}"));
    if let Ok(reply) = whole {
        encode_everywhere(reply);
    }
}

#[test]
fn damaged_responses_never_panic_and_every_reply_can_be_sent() {
    let seconds = std::env::var("BRIGADE_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let response = (
        prop::sample::select(&SEEDS[..]),
        prop::collection::vec(Damage::strategy(), 0..6),
        prop::sample::select(&[200_u16, 200, 200, 400, 503][..]),
        prop::collection::vec(any::<Index>(), 0..6),
    );
    let mut cases = 0;
    while cases == 0 || Instant::now() < end {
        let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
        let run = TestRunner::new(config).run(&response, |(seed, damages, status, cuts)| {
            let mut body = seed.as_bytes().to_vec();
            for damage in &damages {
                damage.apply(&mut body);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            check(&ChatCompletions::default(), status, &body, &cuts);
            check(&Responses::default(), status, &body, &cuts);
            check(&Messages, status, &body, &cuts);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{failure}"));
        cases += 128;
    }
    println!("fuzz: {cases} responses");
}
