//! `async-openai` can read what is written here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on panics")]

use async_openai::types::responses::{OutputItem, Response, ResponseStreamEvent, Status};
use brigade_core::{Outcome, RunId, Settings, StopReason, TraceId, Transcript};
use brigade_openai::{BrigadeDetails, ResponseBody, ResponseFrame, ResponseObject, ResponseWriter};
use serde_json::json;

fn response() -> ResponseObject {
    let body = json!({ "model": "desk", "input": "Why?", "text": { "format": { "type": "json_object" } },
        "metadata": { "a": "b" }, "reasoning": { "effort": "low" }, "instructions": "Be brief.", "user": "ada" });
    let body: ResponseBody = serde_json::from_value(body).unwrap();
    ResponseObject::new(&body, &body.settings(&Settings::default()).unwrap(), RunId::new(), 1_764_482_400)
}

fn ended(response: ResponseObject, shown: &[&str], stop: StopReason, text: &str) -> ResponseObject {
    let mut outcome = Outcome::new(TraceId::random(), stop, text.to_owned(), Transcript::new());
    "It stopped.".clone_into(&mut outcome.notice);
    let shown: Vec<_> = shown.iter().map(|text| (*text).to_owned()).collect();
    response.ended(&shown, &outcome, BrigadeDetails::new(RunId::new(), false, &outcome))
}

#[test]
fn the_vendors_types_read_responses_of_every_status() {
    for (ours, status) in [
        (response(), Status::InProgress),
        (ended(response(), &[], StopReason::Finished, "Because."), Status::Completed),
        (ended(response(), &[], StopReason::Refused, ""), Status::Completed),
        (ended(response(), &[], StopReason::Truncated, "Beca"), Status::Incomplete),
        (ended(response(), &[], StopReason::MaxTurns, "Perhaps."), Status::Incomplete),
        (ended(response(), &[], StopReason::Cancelled, ""), Status::Cancelled),
        (response().failed(&["Beca".to_owned()], "provider_failed", "It failed."), Status::Failed),
    ] {
        let json = serde_json::to_value(&ours).unwrap();
        let read: Response = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(read.status, status, "{json}");
        assert_eq!(read.output.len(), ours.output.len());
        assert!(read.output.iter().all(|item| matches!(item, OutputItem::Message(_))));
        let again: ResponseObject = serde_json::from_value(json).unwrap();
        assert_eq!(again, ours, "it can be kept");
    }
}

#[test]
fn the_vendors_types_read_every_event_and_items_come_before_the_last_one() {
    let shown = ["Let me ask.", "Beca"];
    for (last, name) in [
        (ended(response(), &shown, StopReason::Finished, "Because."), "response.completed"),
        (ended(response(), &shown, StopReason::Truncated, "Beca"), "response.incomplete"),
        (response().failed(&shown.map(str::to_owned), "provider_failed", "It failed."), "response.failed"),
    ] {
        let mut writer = ResponseWriter::new(response());
        let mut frames = writer.start();
        frames.extend(writer.text("Let me "));
        frames.extend(writer.text("ask."));
        frames.extend(writer.end_message());
        frames.extend(writer.text("Beca"));
        frames.extend(writer.end(&last));
        let mut items = Vec::new();
        for (number, ResponseFrame { event, data, .. }) in frames.iter().enumerate() {
            let json: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!((&json["type"], &json["sequence_number"]), (&json!(event), &json!(number)));
            let read: ResponseStreamEvent = serde_json::from_str(data).unwrap();
            if let ResponseStreamEvent::ResponseOutputItemDone(done) = read {
                items.push(done.item);
            }
        }
        assert_eq!(frames.last().unwrap().event, name);
        assert_eq!(items.len(), 2);
    }
}

#[test]
fn a_refusal_is_streamed_as_one() {
    let last = ended(response(), &[], StopReason::Refused, "");
    let frames = ResponseWriter::new(response()).end(&last);
    let names: Vec<_> = frames.iter().map(|frame| frame.event).collect();
    assert!(names.contains(&"response.refusal.delta") && names.contains(&"response.refusal.done"), "{names:?}");
    assert_eq!(names.last(), Some(&"response.completed"));
}
