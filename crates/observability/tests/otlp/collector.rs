//! A local collector, and the spans that it received.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::Event},
};
use prost::Message;

/// Accepts exported spans until the test ends.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    exports: Arc<Mutex<Vec<Export>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Export {
    /// The request line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Collector {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let exports = Arc::<Mutex<Vec<Export>>>::default();
        let taken = Arc::clone(&exports);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || answer(&stream.unwrap(), &taken));
            }
        });
        Self { endpoint, exports }
    }

    pub(crate) fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let decode = |export: &Export| ExportTraceServiceRequest::decode(&*export.body).unwrap();
        self.exports().iter().map(decode).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
    }
}

fn answer(stream: &TcpStream, exports: &Mutex<Vec<Export>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        exports.lock().unwrap().push(Export { head, body });
        (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

/// The trees of spans as text, one for each span without a parent here. Brothers are in the order in which they
/// began.
pub(crate) fn trees(spans: &[Span]) -> String {
    let is_here = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    let mut shown = String::new();
    let mut roots: Vec<&Span> = spans.iter().filter(|span| !is_here(&span.parent_span_id)).collect();
    roots.sort_by_key(|span| (span.start_time_unix_nano, &span.name));
    for root in roots {
        show(root, spans, 0, &mut shown);
    }
    shown
}

fn show(span: &Span, all: &[Span], depth: usize, shown: &mut String) {
    let kind = ["unspecified", "internal", "server", "client"][usize::try_from(span.kind).unwrap()];
    let indent = "  ".repeat(depth);
    let facts = facts(&span.attributes);
    let outcome = facts.get("brigade.outcome").cloned().unwrap_or_default();
    shown.push_str(format!("{indent}{} ({kind}) {outcome}", span.name).trim_end());
    shown.push('\n');
    for event in &span.events {
        shown.push_str(&format!("{indent}  ! {}\n", happened(event)));
    }
    let mut below: Vec<&Span> = all.iter().filter(|other| other.parent_span_id == span.span_id).collect();
    below.sort_by_key(|span| (span.start_time_unix_nano, &span.name));
    for span in below {
        show(span, all, depth + 1, shown);
    }
}

fn happened(event: &Event) -> String {
    let facts = facts(&event.attributes);
    // How long a retry waits is random.
    let told = facts.iter().filter(|(name, _)| **name != "brigade.delay_seconds").map(|(_, value)| value.as_str());
    let told: Vec<&str> = told.collect();
    format!("{} {}", event.name, told.join(" ")).trim_end().to_owned()
}

/// Attributes by name, values as text.
pub(crate) fn facts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let facts: BTreeMap<_, _> = attributes.iter().map(|one| (one.key.as_str(), shown(one.value.as_ref()))).collect();
    assert_eq!(facts.len(), attributes.len(), "an attribute occurs twice: {attributes:?}");
    facts
}

fn shown(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => format!("{number:?}"),
        Some(Value::ArrayValue(array)) => {
            array.values.iter().map(|value| shown(Some(value))).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}
