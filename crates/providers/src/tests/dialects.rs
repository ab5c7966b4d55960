//! The three protocols side by side: each departure from the documented form is read in the same way in all of them,
//! streamed and whole.

use brigade_core::{Arguments, ChatReply, Delta, FinishReason, ModelError, Money, Part, Usage, testing::Recorder};
use serde_json::{Value, json};

use super::events::{deltas, quirks, read_chunks, read_document};
use crate::{ChatCompletions, Messages, Responses, http::account::MAX_BODY_BYTES};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Messages,
}

pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

/// An answer as a server of one of the protocols sends it. Texts are the inside of JSON strings, and may be odd.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) texts: Vec<Vec<u8>>,
    /// The arguments of a tool call, as they are written within a JSON string. `|` is where their deltas are cut.
    pub(crate) arguments: Option<String>,
    /// The counts of an early report, and of the last one.
    pub(crate) usage: [(Value, Value); 2],
    /// Further fields of `usage`.
    pub(crate) usage_fields: &'static str,
    /// Further fields of the outermost object.
    pub(crate) fields: &'static str,
}

impl Answer {
    pub(crate) fn text(texts: &[&str]) -> Self {
        Self::bytes(&texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    }

    fn bytes(texts: &[&[u8]]) -> Self {
        let texts = texts.iter().map(|text| text.to_vec()).collect();
        let usage = [(json!(20), json!(1)), (json!(20), json!(5))];
        Self { texts, arguments: None, usage, usage_fields: "", fields: "" }
    }

    pub(crate) fn call(arguments: &str) -> Self {
        Self { arguments: Some(arguments.to_owned()), ..Self::text(&[]) }
    }

    fn usage(&self, dialect: Dialect, index: usize) -> String {
        let (input, output) = &self.usage[index];
        let name = if dialect == Dialect::Chat { ["prompt", "completion"] } else { ["input", "output"] };
        format!("{{\"{}_tokens\":{input},\"{}_tokens\":{output}{}}}", name[0], name[1], self.usage_fields)
    }

    /// The events of a stream: those before the terminal marker, and the marker.
    pub(crate) fn events(&self, dialect: Dialect) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (early, last, more) = (self.usage(dialect, 0), self.usage(dialect, 1), self.fields);
        let event = |before: &str, text: &[u8], after: &str| {
            [b"data: {", before.as_bytes(), text, after.as_bytes(), more.as_bytes(), b"}\n\n"].concat()
        };
        let texts = self.texts.iter();
        let arguments = self.arguments.as_deref().map(|text| text.split_once('|').unwrap_or((text, "")));
        let arguments = arguments.map(|(first, second)| (first.as_bytes(), second.as_bytes()));
        let arguments = arguments.into_iter().flat_map(|(first, second)| [first, second]);
        let stop = if self.arguments.is_some() { ["tool_calls", "tool_use"] } else { ["stop", "end_turn"] };
        match dialect {
            Dialect::Chat => {
                let choice = |before: &str, text: &[u8], after: &str| {
                    event(&format!("\"choices\":[{{\"delta\":{{{before}"), text, &format!("{after}}}}}]"))
                };
                let call = "\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"";
                let mut events = vec![event("\"choices\":[],\"usage\":", early.as_bytes(), "")];
                events.extend(texts.map(|text| choice("\"content\":\"", text, "\"")));
                events.extend(arguments.map(|text| choice(call, text, "\"}}]")));
                events.push(event("\"choices\":[{\"delta\":{},\"finish_reason\":\"", stop[0].as_bytes(), "\"}]"));
                events.push(event("\"choices\":[],\"usage\":", last.as_bytes(), ""));
                (events, b"data: [DONE]\n\n".to_vec())
            }
            Dialect::Responses => {
                let in_progress = format!("\"type\":\"response.in_progress\",\"response\":{{\"usage\":{early}}}");
                let mut events = vec![event(&in_progress, b"", "")];
                let text = "\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"";
                events.extend(texts.map(|delta| event(text, delta, "\"")));
                let done = "\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":";
                events.push(event(done, &self.item(), ""));
                let completed =
                    "\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[],\"usage\":";
                (events, event(completed, last.as_bytes(), "}"))
            }
            Dialect::Messages => {
                let start = format!("\"type\":\"message_start\",\"message\":{{\"content\":[],\"usage\":{early}}}");
                let block = match self.arguments {
                    Some(_) => "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{}}",
                    None => "{\"type\":\"text\",\"text\":\"\"}",
                };
                let block = format!("\"type\":\"content_block_start\",\"index\":0,\"content_block\":{block}");
                let mut events = vec![event(&start, b"", ""), event(&block, b"", "")];
                let delta = "\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":";
                events.extend(texts.map(|text| event(&format!("{delta}\"text_delta\",\"text\":\""), text, "\"}")));
                let json = format!("{delta}\"input_json_delta\",\"partial_json\":\"");
                events.extend(arguments.map(|text| event(&json, text, "\"}")));
                let end =
                    format!("\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\"}},\"usage\":", stop[1]);
                events.push(event(&end, last.as_bytes(), ""));
                (events, event("\"type\":\"message_stop\"", b"", ""))
            }
        }
    }

    /// An item of Responses.
    fn item(&self) -> Vec<u8> {
        if let Some(arguments) = &self.arguments {
            let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":""#;
            return format!("{call}{}\"}}", arguments.replace('|', "")).into();
        }
        let message: &[u8] = br#"{"type":"message","content":[{"type":"output_text","text":""#;
        [message, &self.texts.concat(), b"\"}]}"].concat()
    }

    pub(crate) fn document(&self, dialect: Dialect) -> Vec<u8> {
        let (text, usage) = (self.texts.concat(), self.usage(dialect, 1));
        let arguments = self.arguments.as_ref().map(|arguments| arguments.replace('|', ""));
        let usage = [b",\"usage\":", usage.as_bytes(), self.fields.as_bytes(), b"}"].concat();
        let parts: [&[u8]; 3] = match (dialect, &arguments) {
            (Dialect::Chat, None) => [b"{\"choices\":[{\"message\":{\"content\":\"", &text, b"\"},\"finish_reason\":\"stop\"}]"],
            (Dialect::Chat, Some(arguments)) => [
                b"{\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"",
                arguments.as_bytes(),
                b"\"}}]},\"finish_reason\":\"tool_calls\"}]",
            ],
            (Dialect::Responses, _) => [b"{\"status\":\"completed\",\"output\":[", &self.item(), b"]"],
            (Dialect::Messages, None) => {
                [b"{\"content\":[{\"type\":\"text\",\"text\":\"", &text, b"\"}],\"stop_reason\":\"end_turn\""]
            }
            (Dialect::Messages, Some(arguments)) => [
                b"{\"content\":[{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":\"",
                arguments.as_bytes(),
                b"\"}],\"stop_reason\":\"tool_use\"",
            ],
        };
        [parts.concat(), usage].concat()
    }
}

/// The result of an answer.
struct Reading {
    result: Result<ChatReply, ModelError>,
    recorder: Recorder,
}

impl Reading {
    fn of_chunks(dialect: Dialect, chunks: &[&[u8]]) -> Self {
        let (result, recorder) = match dialect {
            Dialect::Chat => read_chunks(&ChatCompletions::default(), chunks),
            Dialect::Responses => read_chunks(&Responses::default(), chunks),
            Dialect::Messages => read_chunks(&Messages, chunks),
        };
        Self { result, recorder }
    }

    fn of_document(dialect: Dialect, document: &[u8]) -> Self {
        let (result, recorder) = match dialect {
            Dialect::Chat => read_document(&ChatCompletions::default(), document),
            Dialect::Responses => read_document(&Responses::default(), document),
            Dialect::Messages => read_document(&Messages, document),
        };
        Self { result, recorder }
    }

    fn streamed(dialect: Dialect, answer: &Answer) -> Self {
        let (mut events, end) = answer.events(dialect);
        events.push(end);
        Self::of_chunks(dialect, &events.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The answer streamed and whole.
    fn both(dialect: Dialect, answer: &Answer) -> [Self; 2] {
        [Self::streamed(dialect, answer), Self::of_document(dialect, &answer.document(dialect))]
    }

    fn reply(&self) -> &ChatReply {
        self.result.as_ref().unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn text(&self) -> String {
        self.reply().message.text().into_owned()
    }

    fn thinking(&self) -> String {
        let text = |part: &Part| if let Part::Thinking(text) = part { Some(text.text.clone()) } else { None };
        self.reply().message.parts().iter().filter_map(text).collect()
    }

    /// The text and the reasoning of the deltas.
    fn shown(&self) -> (String, String) {
        let (mut shown, mut thinking) = (String::new(), String::new());
        for delta in deltas(&self.recorder) {
            match delta {
                Delta::Text(text) => shown.push_str(&text),
                Delta::Thinking(text) => thinking.push_str(&text),
                Delta::ToolCall { .. } | Delta::Arguments { .. } => {}
            }
        }
        (shown, thinking)
    }

    fn has_quirk(&self, name: &str) -> bool {
        quirks(&self.recorder).contains(&name)
    }
}

#[test]
fn an_event_that_is_not_a_part_of_the_answer_is_skipped_and_counted() {
    for dialect in DIALECTS {
        for (event, quirk) in [
            ("data:\n\n", "empty_event"),
            ("data: \n\n", "empty_event"),
            ("event: ping\ndata:\n\n", "empty_event"),
            ("event: ping\ndata: ok\n\n", "unknown_event"),
            ("event: ping\ndata: {\n\n", "unknown_event"),
            ("event: debug\ndata: not json\n\n", "unknown_event"),
            ("event: debug\ndata: {\"a\":1}\n\n", "unknown_event"),
            ("data: keep-alive\n\n", "unknown_event"),
            ("data: null\n\n", "unknown_event"),
            ("data: []\n\n", "unknown_event"),
            ("data: {}\n\n", "unknown_event"),
        ] {
            let (events, end) = Answer::text(&["one ", "two"]).events(dialect);
            for place in 0..=events.len() {
                let mut events = events.clone();
                events.insert(place, event.into());
                events.push(end.clone());
                let all = events.concat();
                let reading = Reading::of_chunks(dialect, &[&all]);
                assert_eq!(reading.text(), "one two", "{dialect:?} {event}");
                assert!(reading.has_quirk(quirk), "{dialect:?} {event} {:?}", quirks(&reading.recorder));
            }
        }
    }
}

#[test]
fn an_event_that_may_be_a_part_of_the_answer_must_be_whole() {
    for (dialect, name) in [
        (Dialect::Chat, ""),
        (Dialect::Chat, "event: message\n"),
        (Dialect::Responses, ""),
        (Dialect::Responses, "event: response.output_text.delta\n"),
        (Dialect::Messages, ""),
        (Dialect::Messages, "event: content_block_delta\n"),
    ] {
        let (mut events, end) = Answer::text(&["one ", "two"]).events(dialect);
        events.insert(2, format!("{name}data: {{\"cut off\n\n").into());
        events.push(end);
        let reading = Reading::of_chunks(dialect, &[&events.concat()]);
        assert_eq!(reading.result.unwrap_err().kind(), brigade_core::ModelErrorKind::Broken, "{dialect:?} {name}");
    }
}

#[test]
fn what_follows_the_terminal_marker_is_not_a_part_of_the_answer() {
    for dialect in DIALECTS {
        let (mut events, end) = Answer::text(&["one ", "two"]).events(dialect);
        let delta = events[events.len() / 2].clone();
        events.push(end.clone());
        for tail in [
            &end,
            b"data: [DONE]\n\n".as_slice(),
            b"event: ping\ndata: {}\n\n",
            b"data: \n\n",
            &delta,
            b"data: {",
            b"<html>",
        ] {
            let all = [events.concat(), tail.to_vec()].concat();
            let reading = Reading::of_chunks(dialect, &[&all]);
            assert_eq!((reading.text(), reading.shown().0), ("one two".into(), "one two".into()), "{dialect:?}");
        }
    }
}

#[test]
fn a_quoted_or_added_done_is_the_terminal_marker() {
    for dialect in DIALECTS {
        let (events, end) = Answer::text(&["one ", "two"]).events(dialect);
        let end = if dialect == Dialect::Responses { end } else { Vec::new() };
        for marker in ["data: [DONE]\n\n", "data: \"[DONE]\"\n\n", "data:[DONE] \n\n", "event: done\ndata: [DONE]\n\n"]
        {
            let all = [events.concat(), end.clone(), marker.into()].concat();
            let reading = Reading::of_chunks(dialect, &[&all]);
            assert_eq!(reading.text(), "one two", "{dialect:?} {marker}");
            assert!(!reading.has_quirk("end_marker_missing"), "{dialect:?} {marker}");
        }
    }
}

#[test]
fn odd_characters_do_not_cost_the_answer() {
    for dialect in DIALECTS {
        for (texts, expected) in [
            ([br"a\ud83d".as_slice(), br"\ude00b"], "a😀b"),
            ([br"a\uD83D", b"b"], "a\u{FFFD}b"),
            ([b"a", br"\ude00"], "a\u{FFFD}"),
            ([b"a", br"b\ud83d"], "ab\u{FFFD}"),
            ([b"a\xF0\x9F", b"\x98\x80b"], "a😀b"),
            ([b"a\xF0", b"\x9F\x98"], "a\u{FFFD}"),
            ([b"a\xFF", b"b"], "a\u{FFFD}b"),
            ([b"a\x1b[0m", b"\tb"], "a\u{1b}[0m\tb"),
            ([br"C:\dir", br"\q"], r"C:\dir\q"),
        ] {
            for (reading, form) in Reading::both(dialect, &Answer::bytes(&texts)).iter().zip(["stream", "document"]) {
                assert_eq!(reading.text(), expected, "{dialect:?} {form} {texts:?}");
                assert_eq!(reading.shown().0, if form == "stream" { expected } else { "" }, "{dialect:?} {texts:?}");
                // The halves of a pair are next to each other in a document.
                let is_whole = form == "document" && expected.starts_with("a😀");
                assert!(is_whole || reading.has_quirk("repaired"), "{dialect:?} {form} {texts:?}");
            }
        }
    }
}

#[test]
fn a_character_split_in_the_arguments_is_joined() {
    for dialect in DIALECTS {
        let arguments = r#"{\"q\":\"a\ud83d|\ude00b\"}"#;
        for reading in Reading::both(dialect, &Answer::call(arguments)) {
            let call = reading.reply().message.tool_calls().next().unwrap().clone();
            assert_eq!(call.arguments.as_str(), "{\"q\":\"a😀b\"}", "{dialect:?}");
        }
    }
}

#[test]
fn fields_that_are_not_read_cannot_matter() {
    for dialect in DIALECTS {
        for fields in [
            r#","perf":NaN"#,
            r#","perf":{"a":-Infinity,"b":[Infinity]}"#,
            r#","perf":1e999"#,
            r#","perf":"\ud800""#,
            r#","created":"x","object":7,"system_fingerprint":[],"sequence_number":-1.5"#,
            r#","error":null,"id":null,"model":7"#,
        ] {
            for reading in Reading::both(dialect, &Answer { fields, ..Answer::text(&["one ", "two"]) }) {
                assert_eq!(reading.text(), "one two", "{dialect:?} {fields}");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_not_a_part_of_a_document_or_stream() {
    for dialect in DIALECTS {
        let answer = Answer::text(&["one ", "two"]);
        let (events, end) = answer.events(dialect);
        let stream = [b"\xEF\xBB\xBF".as_slice(), &events.concat(), &end].concat();
        assert_eq!(Reading::of_chunks(dialect, &[&stream]).text(), "one two", "{dialect:?}");
        let marked = String::from_utf8(events.concat()).unwrap().replace("data: ", "data: \u{feff}");
        assert_eq!(Reading::of_chunks(dialect, &[marked.as_bytes(), &end]).text(), "one two", "{dialect:?}");
        let document = [b"\n\xEF\xBB\xBF ".as_slice(), &answer.document(dialect)].concat();
        assert_eq!(Reading::of_document(dialect, &document).text(), "one two", "{dialect:?}");
    }
}

#[test]
fn reasoning_between_tags_is_thinking_and_not_text() {
    for dialect in DIALECTS {
        for (texts, thinking, answer) in [
            (vec!["<think>a < b</think>one two"], "a < b", "one two"),
            (vec!["<th", "ink>a", " <", " b</th", "ink>", r"\n\n", "one", " two"], "a < b", "one two"),
            (vec![r"\n<thinking>a", " < b</thinking>one two"], "a < b", "one two"),
            (vec!["[THINK]a < b[/THINK]", "one two"], "a < b", "one two"),
            (vec!["<think></think>one two"], "", "one two"),
        ] {
            let readings = Reading::both(dialect, &Answer::text(&texts));
            for reading in &readings {
                assert_eq!(
                    (reading.text(), reading.thinking()),
                    (answer.into(), thinking.into()),
                    "{dialect:?} {texts:?}"
                );
                assert!(reading.has_quirk("think_tags"));
            }
            assert_eq!(readings[0].shown(), (answer.into(), thinking.into()), "{dialect:?} {texts:?}");
        }
        // A template put the opening tag into the prompt.
        for texts in [vec![r"a < b\n</think>\n\none two"], vec!["a < b", "</thi", "nk>", "one two"]] {
            for reading in Reading::both(dialect, &Answer::text(&texts)) {
                assert_eq!((reading.text(), reading.thinking()), ("one two".into(), "a < b".into()), "{dialect:?}");
            }
        }
        for reading in Reading::both(dialect, &Answer::text(&["one two", r"\n</think>\n"])) {
            assert_eq!((reading.text(), reading.thinking()), ("one two".into(), String::new()), "{dialect:?}");
        }
        for text in ["<b>one</b>", "Close it with `</think>`.", "one <think> two </think>"] {
            for reading in Reading::both(dialect, &Answer::text(&[text])) {
                assert_eq!((reading.text(), reading.thinking()), (text.into(), String::new()), "{dialect:?}");
            }
        }
    }
}

#[test]
fn wrapped_arguments_are_unwrapped() {
    for dialect in DIALECTS {
        for (arguments, expected) in [
            (r#"{\"a|\":1}"#, r#"{"a":1}"#),
            (r#"\"{\\\"a\\\":1}\""#, r#"{"a":1}"#),
            (r#"{\"a\":1}|{\"a\":1}"#, r#"{"a":1}"#),
            (r#"{\"a\":1}\n{\"a\":1}\n"#, r#"{"a":1}"#),
            (r#"{}|{\"a\":1}"#, r#"{"a":1}"#),
            (r#"{\"a\":\"x\ny\"}"#, r#"{"a":"x\u000ay"}"#),
            (r#"{\"a\":\"\\ud83d\"}"#, "{\"a\":\"\u{FFFD}\"}"),
            ("null", "{}"),
            ("", "{}"),
        ] {
            for reading in Reading::both(dialect, &Answer::call(arguments)) {
                let call = reading.reply().message.tool_calls().next().unwrap().clone();
                assert_eq!(call.arguments.as_str(), expected, "{dialect:?} {arguments}");
                assert_eq!(reading.reply().finish_reason, FinishReason::ToolCalls, "{dialect:?} {arguments}");
            }
        }
        // Two different documents, a number that JSON does not have, and a text have no meaning that is sure.
        for arguments in [r#"{\"a\":1}{\"a\":2}"#, r#"{\"a\":NaN}"#, r#"{\"a\":"#, "a=1"] {
            let reading = Reading::streamed(dialect, &Answer::call(arguments));
            let call = reading.reply().message.tool_calls().next().unwrap().clone();
            assert!(matches!(call.arguments, Arguments::Malformed(_)), "{dialect:?} {arguments}");
        }
    }
}

#[test]
fn usage_does_not_fall_within_a_stream() {
    for dialect in DIALECTS {
        for last in [(json!(0), json!(0)), (json!(0), json!(200)), (json!(1000), json!(1)), (json!(null), json!(null))]
        {
            let usage = [(json!(1000), json!(200)), last];
            let reading = Reading::streamed(dialect, &Answer { usage, ..Answer::text(&["one two"]) });
            assert_eq!(reading.reply().usage, Some(Usage::new(1000, 200)), "{dialect:?}");
        }
    }
}

#[test]
fn usage_that_is_missing_comes_early_or_comes_twice_costs_no_answer_and_counts_once() {
    for dialect in DIALECTS {
        let answer = Answer::text(&["one ", "two"]);
        let (mut events, end) = answer.events(dialect);
        events.push(end);
        let without = |events: &[Vec<u8>], index: usize| -> Vec<Vec<u8>> {
            let usage = format!("\"usage\":{}", answer.usage(dialect, index));
            let text = |event: &Vec<u8>| String::from_utf8(event.clone()).unwrap().replace(&usage, "\"other\":0");
            events.iter().map(|event| text(event).into_bytes()).collect()
        };
        let read = |events: &[Vec<u8>]| {
            let reading = Reading::of_chunks(dialect, &events.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert_eq!(reading.text(), "one two", "{dialect:?}");
            (reading.reply().usage, reading.has_quirk("usage_missing"))
        };
        assert_eq!(read(&without(&without(&events, 0), 1)), (None, true), "{dialect:?}");
        assert_eq!(read(&without(&events, 1)), (Some(Usage::new(20, 1)), false), "{dialect:?}");
        let usage = format!("\"usage\":{}", answer.usage(dialect, 1)).into_bytes();
        let last = events.iter().position(|event| event.windows(usage.len()).any(|part| part == usage)).unwrap();
        let twice = [&events[..=last], &events[last..]].concat();
        assert_eq!(read(&twice), (Some(Usage::new(20, 5)), false), "{dialect:?}");
    }
}

#[test]
fn usage_of_another_type_is_left_out_and_the_answer_stays() {
    for dialect in DIALECTS {
        for odd in [json!("20"), json!(-1), json!(2.5), json!([1]), json!({}), json!(true), json!(1e300)] {
            let usage = [(odd.clone(), odd.clone()), (odd.clone(), odd.clone())];
            for reading in Reading::both(dialect, &Answer { usage, ..Answer::text(&["one two"]) }) {
                assert_eq!((reading.text(), reading.reply().usage), ("one two".into(), None), "{dialect:?} {odd}");
            }
        }
    }
}

#[test]
fn a_stated_cost_has_the_upstream_cost_of_an_own_key() {
    let usage_fields = r#","cost":0.004,"is_byok":true,"cost_details":{"upstream_inference_cost":0.036}"#;
    for dialect in DIALECTS {
        for reading in Reading::both(dialect, &Answer { usage_fields, ..Answer::text(&["one two"]) }) {
            let cost = reading.reply().usage.unwrap().stated_cost;
            assert_eq!(cost, Some(Money::from_nano(40_000_000)), "{dialect:?}");
        }
    }
}

#[test]
fn the_limit_of_an_answer_does_not_count_the_envelopes_of_its_deltas() {
    for dialect in DIALECTS {
        // The envelopes alone are longer than the limit.
        let fields: &'static str = format!(",\"logprobs\":\"{}\"", "x".repeat(1_500)).leak();
        let (before, end) = Answer { fields, ..Answer::text(&["word "]) }.events(dialect);
        let delta = before.iter().position(|event| event.windows(5).any(|part| part == b"word ")).unwrap();
        let count = (MAX_BODY_BYTES + MAX_BODY_BYTES / 8) / before[delta].len();
        let block = before[delta].repeat(1_000);
        let mut chunks: Vec<&[u8]> = before[..delta].iter().map(Vec::as_slice).collect();
        chunks.extend(std::iter::repeat_n(block.as_slice(), count / 1_000));
        if dialect != Dialect::Responses {
            chunks.extend(before[delta + 1..].iter().map(Vec::as_slice));
        }
        chunks.push(&end);
        let reading = Reading::of_chunks(dialect, &chunks);
        assert_eq!(reading.shown().0.len(), count / 1_000 * 5_000, "{dialect:?} {:?}", reading.result);
        assert!(reading.result.is_ok(), "{dialect:?} {:?}", reading.result);
    }
}
