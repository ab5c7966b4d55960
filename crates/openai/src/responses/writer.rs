//! Responses as server-sent events.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    object::{ResponseObject, ResponseStatus},
    output::{OutputItem, OutputPart},
};

/// An event of a stream: its name, and its data as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseFrame {
    /// The name of the event, which the data has as `type` too.
    pub event: &'static str,
    /// JSON.
    pub data: String,
}

/// Writes a response as events, in the order and with the numbers that clients expect.
///
/// ```
/// use brigade_core::{RunId, Settings};
/// use brigade_openai::{ResponseBody, ResponseObject, ResponseWriter};
///
/// let body: ResponseBody = serde_json::from_str(r#"{"model": "desk", "input": "Is Kafka faster than SQS?"}"#)?;
/// let response = ResponseObject::new(&body, &Settings::default(), RunId::new(), 1_764_482_400);
/// let mut writer = ResponseWriter::new(response.clone());
/// let mut frames = writer.start();
/// frames.extend(writer.text("It depends."));
/// frames.extend(writer.end(&response.showing(&["It depends.".to_owned()])));
/// assert_eq!(frames[0].event, "response.created");
/// assert!(frames.iter().any(|frame| frame.event == "response.output_item.done"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct ResponseWriter {
    response: ResponseObject,
    sequence: u64,
    /// The text of the message that is being written.
    open: Option<String>,
}

/// An event of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type")]
#[expect(missing_docs, reason = "the names are OpenAI's own")]
pub enum ResponseEvent<'a> {
    #[serde(rename = "response.created")]
    Created { response: &'a ResponseObject },
    #[serde(rename = "response.in_progress")]
    InProgress { response: &'a ResponseObject },
    #[serde(rename = "response.output_item.added")]
    ItemAdded { output_index: usize, item: OutputItem },
    #[serde(rename = "response.content_part.added")]
    PartAdded { item_id: String, output_index: usize, content_index: usize, part: OutputPart },
    #[serde(rename = "response.output_text.delta")]
    TextDelta { item_id: String, output_index: usize, content_index: usize, delta: &'a str, logprobs: [(); 0] },
    #[serde(rename = "response.output_text.done")]
    TextDone { item_id: String, output_index: usize, content_index: usize, text: &'a str, logprobs: [(); 0] },
    #[serde(rename = "response.refusal.delta")]
    RefusalDelta { item_id: String, output_index: usize, content_index: usize, delta: &'a str },
    #[serde(rename = "response.refusal.done")]
    RefusalDone { item_id: String, output_index: usize, content_index: usize, refusal: &'a str },
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta { item_id: String, output_index: usize, delta: &'a str },
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone { item_id: String, output_index: usize, name: &'a str, arguments: &'a str },
    #[serde(rename = "response.content_part.done")]
    PartDone { item_id: String, output_index: usize, content_index: usize, part: &'a OutputPart },
    #[serde(rename = "response.output_item.done")]
    ItemDone { output_index: usize, item: &'a OutputItem },
    #[serde(rename = "response.completed")]
    Completed { response: &'a ResponseObject },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: &'a ResponseObject },
    #[serde(rename = "response.failed")]
    Failed { response: &'a ResponseObject },
}

/// An event with its number.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NumberedResponseEvent<'a> {
    sequence_number: u64,
    #[serde(flatten)]
    event: ResponseEvent<'a>,
}

impl ResponseWriter {
    /// Writes a response that is in progress.
    pub fn new(response: ResponseObject) -> Self {
        Self { response, sequence: 0, open: None }
    }

    /// The events at the start.
    pub fn start(&mut self) -> Vec<ResponseFrame> {
        let response = self.response.clone();
        let created = self.frame(ResponseEvent::Created { response: &response });
        vec![created, self.frame(ResponseEvent::InProgress { response: &response })]
    }

    /// More text of the current message, or the first text of a new one.
    pub fn text(&mut self, text: &str) -> Vec<ResponseFrame> {
        let mut frames = Vec::new();
        if text.is_empty() {
            return frames;
        }
        if self.open.is_none() {
            frames.extend(self.open_item(&OutputPart::text("")));
        }
        frames.push(self.delta(&OutputPart::text(text)));
        self.open.get_or_insert_default().push_str(text);
        frames
    }

    /// Ends the current message, if there is one.
    pub fn end_message(&mut self) -> Vec<ResponseFrame> {
        match self.open.take() {
            Some(text) => self.close_item(OutputPart::text(text)),
            None => Vec::new(),
        }
    }

    /// The items of `ended` that were not written yet, and the last event.
    pub fn end(mut self, ended: &ResponseObject) -> Vec<ResponseFrame> {
        let mut frames = Vec::new();
        let first = self.response.output.len();
        for (index, item) in ended.output.iter().enumerate().skip(first) {
            let content = match item {
                OutputItem::Message { content, .. } => content,
                OutputItem::FunctionCall { arguments, .. } => {
                    frames.extend(self.end_message());
                    frames.extend(self.call(item, arguments));
                    continue;
                }
            };
            for part in content {
                let shown = self.open.take();
                if shown.is_none() {
                    frames.extend(self.open_item(part));
                }
                let rest = part.as_text().strip_prefix(shown.as_deref().unwrap_or_default()).unwrap_or_default();
                if !rest.is_empty() {
                    frames.push(self.delta(&part.with_text(rest)));
                }
                frames.extend(self.close_item(part.clone()));
            }
            debug_assert_eq!(self.response.output.len(), index + 1, "each message has one part");
        }
        frames.extend(self.end_message());
        let last = match ended.status {
            ResponseStatus::Completed => ResponseEvent::Completed { response: ended },
            ResponseStatus::InProgress | ResponseStatus::Incomplete | ResponseStatus::Cancelled => {
                ResponseEvent::Incomplete { response: ended }
            }
            ResponseStatus::Failed => ResponseEvent::Failed { response: ended },
        };
        frames.push(self.frame(last));
        frames
    }

    fn call(&mut self, item: &OutputItem, arguments: &str) -> Vec<ResponseFrame> {
        let (item_id, output_index) = (item.id().to_owned(), self.response.output.len());
        let mut frames = vec![self.frame(ResponseEvent::ItemAdded { output_index, item: item.opened() })];
        let id = item_id.clone();
        frames.push(self.frame(ResponseEvent::ArgumentsDelta { item_id: id, output_index, delta: arguments }));
        let name = item.name();
        frames.push(self.frame(ResponseEvent::ArgumentsDone { item_id, output_index, name, arguments }));
        frames.push(self.frame(ResponseEvent::ItemDone { output_index, item }));
        self.response.output.push(item.clone());
        frames
    }

    fn position(&self) -> (String, usize) {
        let index = self.response.output.len();
        (self.response.item_id(index), index)
    }

    fn open_item(&mut self, part: &OutputPart) -> Vec<ResponseFrame> {
        let (item_id, output_index) = self.position();
        let item = OutputItem::message(item_id.clone(), part.emptied()).opened();
        let part = part.emptied();
        let added = self.frame(ResponseEvent::ItemAdded { output_index, item });
        vec![added, self.frame(ResponseEvent::PartAdded { item_id, output_index, content_index: 0, part })]
    }

    fn delta(&mut self, part: &OutputPart) -> ResponseFrame {
        let (item_id, output_index) = self.position();
        self.frame(match part {
            OutputPart::OutputText { text: delta, .. } => {
                ResponseEvent::TextDelta { item_id, output_index, content_index: 0, delta, logprobs: [] }
            }
            OutputPart::Refusal { refusal: delta } => {
                ResponseEvent::RefusalDelta { item_id, output_index, content_index: 0, delta }
            }
        })
    }

    fn close_item(&mut self, part: OutputPart) -> Vec<ResponseFrame> {
        let (item_id, output_index) = self.position();
        let id = || item_id.clone();
        let done = match &part {
            OutputPart::OutputText { text, .. } => {
                ResponseEvent::TextDone { item_id: id(), output_index, content_index: 0, text, logprobs: [] }
            }
            OutputPart::Refusal { refusal } => {
                ResponseEvent::RefusalDone { item_id: id(), output_index, content_index: 0, refusal }
            }
        };
        let mut frames = vec![self.frame(done)];
        frames.push(self.frame(ResponseEvent::PartDone { item_id: id(), output_index, content_index: 0, part: &part }));
        let item = OutputItem::message(id(), part);
        frames.push(self.frame(ResponseEvent::ItemDone { output_index, item: &item }));
        self.response.output.push(item);
        frames
    }

    fn frame(&mut self, event: ResponseEvent<'_>) -> ResponseFrame {
        let numbered = NumberedResponseEvent { sequence_number: self.sequence, event };
        self.sequence += 1;
        let data = serde_json::to_string(&numbered).unwrap_or_default();
        ResponseFrame { event: numbered.event.name(), data }
    }
}

impl ResponseEvent<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::ItemAdded { .. } => "response.output_item.added",
            Self::PartAdded { .. } => "response.content_part.added",
            Self::TextDelta { .. } => "response.output_text.delta",
            Self::TextDone { .. } => "response.output_text.done",
            Self::RefusalDelta { .. } => "response.refusal.delta",
            Self::RefusalDone { .. } => "response.refusal.done",
            Self::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::ArgumentsDone { .. } => "response.function_call_arguments.done",
            Self::PartDone { .. } => "response.content_part.done",
            Self::ItemDone { .. } => "response.output_item.done",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }
}
