//! How the end of a run becomes an answer in `OpenAI`'s form.
//!
//! `brigade_openai` has the types. Of those in this crate, `AgentModel` and `ModelList` are our own because an agent has a
//! `description`, and `ErrorBody` and `ErrorDetails` because `code` is one of our error codes, and the answer that has the wrong
//! form is added as `output`. Tests check that `async-openai` can read all of them.

use std::borrow::Cow;

use axum::http::StatusCode;
use brigade_core::{Outcome, StopReason, Transcript};
use brigade_durable::Waiting;
use brigade_openai::{ChatCompletion, ChatHead, ErrorCode};

use super::ApiError;
use crate::runs::run_handle::{RunEnd, RunHandle, SuspendedRun};

/// The answer of a run whose request may have had a schema.
pub(crate) fn completion<'a>(
    run: &'a RunHandle,
    end: &RunEnd,
    outcome: &Outcome,
    has_schema: bool,
) -> ChatCompletion<'a> {
    let waits = matches!(end, RunEnd::Suspended(_));
    ChatCompletion::new(head(run), outcome, run.client_calls().map(|calls| &**calls), waits, has_schema)
}

/// Which run answers.
pub(crate) fn head(run: &RunHandle) -> ChatHead<'_> {
    ChatHead { run: run.id(), created: run.started().as_second(), agent: run.agent() }
}

/// The answer of a run that waits: it says what for.
fn waiting_outcome(run: &RunHandle, suspended: &SuspendedRun) -> Result<Outcome, ApiError> {
    let id = run.id();
    let Some(Waiting { note, .. }) = &suspended.waiting else {
        let message = format!(
            "this process does not carry on the run any more; it goes on later, and `GET /v1/runs/{id}` shows its answer"
        );
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Stopping, message));
    };
    let text = format!(
        "This is not the answer yet: {note}. The run goes on once a person has decided; its id is {id}, and \
         `GET /v1/runs/{id}` shows its answer."
    );
    let mut outcome = Outcome::new(run.trace(), StopReason::Finished, text, Transcript::new());
    outcome.usage = suspended.cost.total.usage;
    outcome.cost = suspended.cost.clone();
    Ok(outcome)
}

/// The outcome of a run, or the error that the client gets instead. A limit that was reached before there was any text is
/// an error.
pub(crate) fn outcome<'e>(run: &RunHandle, end: &'e RunEnd) -> Result<Cow<'e, Outcome>, ApiError> {
    let outcome = match end {
        RunEnd::Finished(outcome) => outcome,
        RunEnd::Failed(error) => return Err(ApiError::from(error)),
        RunEnd::Panicked => return Err(ApiError::panicked()),
        RunEnd::Suspended(suspended) => return waiting_outcome(run, suspended).map(Cow::Owned),
    };
    // A program that asked for a schema cannot use other text as the answer.
    if outcome.stop == StopReason::InvalidOutput {
        let message = format!("the answer does not have the form that was asked for: {}", outcome.notice);
        let error = ApiError::new(StatusCode::BAD_GATEWAY, ErrorCode::InvalidOutput, message);
        return Err(ApiError { was_retried: true, output: Some(outcome.text.clone()), ..error });
    }
    if !outcome.text.is_empty() {
        return Ok(Cow::Borrowed(outcome));
    }
    let failed = |status, code| Err(ApiError::new(status, code, outcome.notice.clone()));
    match outcome.stop {
        StopReason::Budget => failed(StatusCode::PAYMENT_REQUIRED, ErrorCode::BudgetExhausted),
        StopReason::Deadline => failed(StatusCode::GATEWAY_TIMEOUT, ErrorCode::DeadlineExceeded),
        StopReason::Cancelled => failed(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Cancelled),
        StopReason::Finished
        | StopReason::MaxTurns
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsTruncated
        | StopReason::ToolArgumentsInvalid
        | StopReason::Refused
        | StopReason::Truncated
        | StopReason::Empty
        | StopReason::InvalidOutput => Ok(Cow::Borrowed(outcome)),
    }
}

#[cfg(test)]
mod tests {
    use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse};
    use brigade_core::testing::{ScriptedModel, Turn};
    use brigade_core::{Agent, Run};
    use brigade_openai::{ChatChunk, ChunkChoice};
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::runs::{manager::Runs, new_run::NewRun};

    /// Parses JSON as the vendor's type, and returns what that type writes.
    fn vendor_form<T: Serialize + serde::de::DeserializeOwned>(ours: &impl Serialize) -> Value {
        let parsed: T = serde_json::from_value(serde_json::to_value(ours).unwrap()).unwrap();
        serde_json::to_value(parsed).unwrap()
    }

    #[tokio::test]
    async fn the_vendors_types_read_answers_and_chunks() {
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")]));
        let runs = Runs::new(1, 1);
        let run = runs.start(NewRun::new(Run::new(), agent, "Hello?")).unwrap();
        let end = run.wait().await;
        let outcome = outcome(&run, &end).unwrap();

        let answer = vendor_form::<CreateChatCompletionResponse>(&completion(&run, &end, &outcome, true));
        assert_eq!(answer["choices"][0]["message"], json!({ "role": "assistant", "content": "Hello." }));
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert!(answer["usage"]["total_tokens"].is_u64(), "{answer}");

        let chunk = ChatChunk::new(head(&run), vec![ChunkChoice::text("Hello.")]);
        let chunk = vendor_form::<CreateChatCompletionStreamResponse>(&chunk);
        assert_eq!(chunk["choices"][0]["delta"]["content"], "Hello.");
        let last = ChatChunk::new(head(&run), vec![ChunkChoice::finish(outcome.stop)]).usage(Some(&outcome.usage));
        let last = vendor_form::<CreateChatCompletionStreamResponse>(&last);
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert!(last["usage"]["total_tokens"].is_u64(), "{last}");
    }
}
