//! The agent loop. There is no other.

use std::{future::Future, mem, pin::Pin, sync::Arc, time::Duration};

use crate::{
    Agent, BudgetExceeded, ChatReply, ChatRequest, ErrorChain, Estimate, Event, Interruption, Memory, MemoryError,
    Message, ModelError, ModelErrorKind, Outcome, Part, Role, Run, RunError, RunFailure, StopReason, ToolChoice,
    ToolStatus, Transcript, TranscriptError,
    agent::loop_guard::Guard,
    agent::next_step::{Answer, Judge},
    agent::task::Task,
    agent::turn,
    tool::{outcome::ToolCallOutcome, toolbox::CallContext},
};

use super::run_end::End;

/// One agent at work on one task.
pub(crate) struct Turns<'a> {
    agent: &'a Agent,
    run: &'a Run,
    request: ChatRequest,
    inherited: usize,
    taken: u32,
    judge: Judge,
    guard: Guard,
    /// Set when a limit was met: the next turn is the last one, without tools.
    closing: Option<End>,
    /// Whether nobody else is known to hold the model to the budget.
    unmetered: bool,
    session: Option<Arc<str>>,
}

/// The last turn must not be the only one: an agent limited to one turn may use it as it likes. Later tasks of the
/// session see the note too, and must not take it for theirs.
const WRAP_UP_NOTE: &str = "[notice] This is your last turn for this task: tools are off now. Answer with what you have, \
                            and say what is missing.";

/// Sessions are small and stores near; who waits longer has an answer that nobody gets to see.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl<'a> Turns<'a> {
    pub(crate) fn new(agent: &'a Agent, run: &'a Run) -> Self {
        Self {
            agent,
            run,
            request: agent.first_request(Transcript::new()),
            inherited: 0,
            taken: 0,
            judge: Judge::new(agent),
            guard: Guard::new(agent.limits),
            closing: None,
            unmetered: true,
            session: None,
        }
    }

    /// Takes turns until there is an outcome. By reference, as a future that takes itself by value holds it twice.
    pub(crate) async fn run(&mut self, task: Box<Task>) -> Result<Outcome, RunError> {
        let end = match self.begin(task).await {
            Ok(Ok(())) => self.turns().await,
            Ok(Err(stopped)) => Ok(End::stopped(stopped, self.run)),
            Err(failure) => Err(failure),
        };
        self.request.transcript.abandon_calls("The run ended before this tool was run.");
        self.remember().await;
        match end {
            Ok(end) => Ok(self.outcome(end)),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// The loop: check the limits, make the prompt fit, ask, then answer, run tools, or ask again.
    async fn turns(&mut self) -> Result<End, RunFailure> {
        loop {
            if let Some(end) = self.check_limits() {
                return Ok(end);
            }
            let reply = match self.ask().await? {
                Asked::Reply(reply) => reply,
                Asked::End(end) => return Ok(end),
            };
            match self.judge.judge(&reply, self.closing.is_some()) {
                Answer::Final(text) => {
                    self.keep(reply.message)?;
                    return Ok(self.closing.take().unwrap_or_else(End::finished).with_text(text));
                }
                Answer::Stop(end) => {
                    self.keep(reply.message)?;
                    return Ok(end);
                }
                Answer::Tools => {
                    turn::keep_calls(&mut self.request, reply.message, (self.agent.model.id(), self.run))?;
                    if let Some(end) = self.use_tools().await? {
                        return Ok(end);
                    }
                }
                Answer::Continue => self.request.transcript.push(reply.message)?,
                Answer::Again { keep, note } => self.ask_again(keep.then_some(reply.message), note)?,
            }
        }
    }

    /// Before a call: whether it may be made, and whether it has to be the last one.
    fn check_limits(&mut self) -> Option<End> {
        if let Err(stopped) = self.run.check() {
            return Some(End::stopped(stopped, self.run));
        }
        let limit = self.agent.limits.turns.max(1);
        if self.taken >= limit {
            return Some(self.closing.take().unwrap_or_else(|| End::max_turns(&self.agent.name, limit)));
        }
        if self.taken > 0 && self.taken + 1 == limit && self.closing.is_none() {
            self.close(End::max_turns(&self.agent.name, limit));
        }
        let refusal = self.take_turn(self.closing.is_some()).err()?;
        self.run.emit(&Event::BudgetRefused(refusal.clone()));
        if self.closing.is_none() && self.take_turn(true).is_ok() {
            self.close(End::refused(&refusal));
            return None;
        }
        Some(self.closing.take().unwrap_or_else(|| End::refused(&refusal)))
    }

    fn take_turn(&self, last: bool) -> Result<(), BudgetExceeded> {
        let ledger = self.run.ledger();
        if self.unmetered {
            // Nobody else asks before the call whether any token is left.
            ledger.check(Estimate { input_tokens: 1, ..Estimate::default() }, last)?;
        }
        ledger.take_turn(last)
    }

    /// Makes the next turn the last one, with tools off.
    fn close(&mut self, end: End) {
        self.closing = Some(end);
        self.request.settings.tool_choice = ToolChoice::None;
        // No call is open between two turns, so a user message always fits.
        let _ = self.request.transcript.push(Message::user(WRAP_UP_NOTE));
    }

    /// One turn. A question that was refused is asked differently where that can help: once without tools, and as often
    /// as there is something left to hide.
    async fn ask(&mut self) -> Result<Asked, RunFailure> {
        self.taken += 1;
        loop {
            let run = if self.closing.is_some() { self.run.wrapping_up() } else { self.run.clone() };
            if let Some(keep) = self.agent.window.excess(&self.request)
                && let Err(stopped) = self.shrink(keep, &run).await
            {
                return Ok(Asked::End(End::stopped(stopped, self.run)));
            }
            let error = match turn::ask(&*self.agent.model, &self.request, (&run, self.taken)).await {
                Ok(Ok(reply)) => return self.book(reply),
                Ok(Err(error)) => error,
                Err(stopped) => return Ok(Asked::End(End::stopped(stopped, self.run))),
            };
            if let Some(end) = self.after_failure(error).await? {
                return Ok(Asked::End(end));
            }
        }
    }

    fn book(&mut self, reply: ChatReply) -> Result<Asked, RunFailure> {
        self.unmetered = reply.charge.is_none();
        match turn::book_unmetered(&reply, &self.request, (self.agent.model.id(), self.run)) {
            None => Ok(Asked::Reply(Box::new(reply))),
            Some(why) => {
                self.keep(reply.message)?;
                Ok(Asked::End(End::budget(&why)))
            }
        }
    }

    /// A failed call ends the run, except where asking differently can help.
    async fn after_failure(&mut self, error: ModelError) -> Result<Option<End>, RunFailure> {
        // Whoever waits on the way to the model watches the run's time as well, and may notice its end first.
        if let Err(stopped) = self.run.check() {
            return Ok(Some(End::stopped(stopped, self.run)));
        }
        match error.kind() {
            ModelErrorKind::Budget if self.closing.is_none() => {
                self.close(End::not_asked(&error));
                return Ok(None);
            }
            ModelErrorKind::Refused => return Ok(Some(End::new(StopReason::Refused, error.to_string()))),
            ModelErrorKind::ContextLength => {
                let keep = self.request.estimated_input_tokens() / 2;
                match self.shrink(keep, self.run).await {
                    Ok(true) => return Ok(None),
                    Ok(false) => {}
                    Err(stopped) => return Ok(Some(End::stopped(stopped, self.run))),
                }
            }
            _ => {}
        }
        // A limit was met before, and that is how the run ends: the last answer would only have been nice to have.
        match self.closing.take() {
            Some(end) => Ok(Some(end.without_answer(&error))),
            None => Err(RunFailure::Model(error)),
        }
    }

    /// Hides old exchanges until about `keep` tokens are left. Answers whether anything was hidden. In a box, as few
    /// turns do.
    fn shrink<'s>(
        &'s mut self,
        keep: u64,
        run: &'s Run,
    ) -> Pin<Box<dyn Future<Output = Result<bool, Interruption>> + Send + 's>> {
        Box::pin(run.until_stopped(self.agent.window.shrink(&mut self.request, keep, run)))
    }

    async fn use_tools(&mut self) -> Result<Option<End>, RunFailure> {
        let Some(message) = self.request.transcript.messages().last().cloned() else { return Ok(None) };
        let calls: Vec<_> = message.tool_calls().collect();
        let context = CallContext { run: self.run, turn: self.taken, disabled: self.guard.disabled() };
        let mut done = self.agent.toolbox.run_calls(&calls, context).await;
        let circling = self.guard.watch(&mut done, self.run);
        let fatal = done.iter().find(|call| call.status == ToolStatus::Fatal).map(fatal);
        let end = done.iter().find(|call| call.ends_run).map(End::by_tool);
        let refused = done.iter().find(|call| call.status == ToolStatus::Budget).map(End::without_tool);
        self.request.transcript.answer_calls(done.into_iter().map(|call| call.result).collect())?;
        match (fatal, circling) {
            (Some(failure), _) => Err(failure),
            (None, Some(circling)) => Ok(Some(circling)),
            (None, None) => {
                if let (None, Some(closing)) = (&end, refused) {
                    self.close(closing);
                }
                Ok(end)
            }
        }
    }

    /// Keeps a last message, unless it says nothing: providers refuse a history with an empty answer in it.
    fn keep(&mut self, message: Message) -> Result<(), RunFailure> {
        if says_something(&message) {
            self.request.transcript.push(message)?;
        }
        Ok(())
    }

    fn ask_again(&mut self, rejected: Option<Message>, note: String) -> Result<(), RunFailure> {
        if let Some(message) = rejected {
            self.request.transcript.push(message)?;
            self.request.transcript.abandon_calls("Tools are off: this one was not run.");
        }
        self.run.emit(&Event::AnswerRejected { reason: note.as_str().into(), attempt: self.judge.rejections() });
        self.judge.widen(&mut self.request.settings, self.agent.model.settings());
        Ok(self.request.transcript.push(Message::user(note))?)
    }

    async fn begin(&mut self, task: Box<Task>) -> Result<Result<(), Interruption>, RunFailure> {
        self.agent.check()?;
        let Task { message, history: mut transcript, session } = *task;
        self.session = session;
        if let (true, Some((memory, session))) = (transcript.is_empty(), self.kept_in()) {
            match self.run.until_stopped(in_time(memory.load(session))).await {
                Ok(messages) => transcript = Transcript::repaired(messages.map_err(RunFailure::Memory)?),
                Err(stopped) => return Ok(Err(stopped)),
            }
        }
        transcript.abandon_calls("What came before ended before this tool was run.");
        self.inherited = transcript.len();
        match message {
            Some(message) if says_something(&message) => {
                match self.run.until_stopped(self.agent.with_notes(message, &transcript, self.run)).await {
                    Ok(task) => transcript.push_task(task)?,
                    Err(stopped) => return Ok(Err(stopped)),
                }
            }
            None if !transcript.is_empty() => {}
            _ => return Err(TranscriptError::NothingAsked.into()),
        }
        self.request.transcript = transcript;
        Ok(Ok(()))
    }

    fn kept_in(&self) -> Option<(&'a dyn Memory, &str)> {
        Some((self.agent.memory.as_deref()?, self.session.as_deref()?))
    }

    /// Also what a run said that failed or was stopped. An answer is not lost because it cannot be kept for later.
    async fn remember(&self) {
        let new = self.request.transcript.messages().get(self.inherited..).unwrap_or_default();
        if let (false, Some((memory, session))) = (new.is_empty(), self.kept_in())
            && let Err(error) = in_time(memory.append(session, new)).await
        {
            self.run.report_degraded("session", ErrorChain(&error).to_string());
        }
    }

    fn outcome(&mut self, end: End) -> Outcome {
        let met = [Some(&end), self.closing.as_ref()].into_iter().flatten();
        for End { used_up, notice, .. } in met.filter(|end| end.stop == StopReason::Budget) {
            self.run.report_exhausted(used_up.as_ref(), notice);
        }
        let text = end.text.unwrap_or_else(|| self.best_so_far());
        let transcript = mem::take(&mut self.request.transcript);
        let mut outcome = Outcome::new(self.run.trace(), end.stop, text, transcript);
        outcome.notice = end.notice;
        outcome.inherited = self.inherited;
        outcome.ended_by = end.ended_by;
        outcome.turns = self.taken;
        outcome
    }

    /// What there is to show when no answer came: the last words of the model, or else what its tools found.
    fn best_so_far(&self) -> String {
        let new = self.request.transcript.messages().get(self.inherited..).unwrap_or_default();
        let words = new.iter().rev().filter(|message| message.role() == Role::Assistant);
        let words = words.map(|message| message.text().trim().to_owned()).find(|text| !text.is_empty());
        words.unwrap_or_else(|| {
            let results = new.iter().flat_map(Message::tool_results).filter(|result| !result.is_error);
            let texts = results.map(|result| format!("{}: {}", result.name, result.text()));
            texts.collect::<Vec<_>>().join("\n")
        })
    }

    fn failed(&mut self, cause: RunFailure) -> RunError {
        RunError::new(self.run, cause, mem::take(&mut self.request.transcript))
    }
}

/// What came of asking the model.
enum Asked {
    Reply(Box<ChatReply>),
    End(End),
}

fn fatal(call: &ToolCallOutcome) -> RunFailure {
    RunFailure::Tool { tool: call.result.name.clone(), message: call.result.text() }
}

fn says_something(message: &Message) -> bool {
    message.parts().iter().any(|part| match part {
        Part::Text(text) => !text.text.trim().is_empty(),
        Part::Thinking(_) => false,
        Part::ToolCall(_) | Part::ToolResult(_) | Part::Image(_) | Part::Opaque(_) => true,
    })
}

/// What a store answers, if it does in time.
async fn in_time<T>(answer: impl Future<Output = Result<T, MemoryError>>) -> Result<T, MemoryError> {
    let late = |_| MemoryError::new(format!("the store did not answer within {STORE_TIMEOUT:?}"));
    tokio::time::timeout(STORE_TIMEOUT, answer).await.map_err(late)?
}

#[cfg(test)]
mod tests;
