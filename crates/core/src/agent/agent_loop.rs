//! The agent loop. There is no other.

use std::mem;

use serde::de::IgnoredAny;

use crate::{
    Agent, BudgetExceeded, ChatReply, ChatRequest, Effect, Estimate, Event, Message, ModelError, ModelErrorKind,
    ModelId, Outcome, Part, Role, Run, RunError, RunFailure, StopReason, Task, ToolChoice, ToolStatus, TranscriptError,
    agent::exit::Exit,
    agent::loop_guard::LoopGuard,
    agent::next_step::{NextStep, ReplyClassifier},
    agent::run_end::RunEnd,
    agent::session::Session,
    agent::turn::{self, TurnError, TurnRecord, TurnRequest},
    agent::window::Trim,
    run::step::Step,
    tool::{outcome::ToolCallOutcome, toolbox::CallContext},
};

/// One agent at work on one task.
struct AgentLoop<'a> {
    agent: &'a Agent,
    run: &'a Run,
    request: ChatRequest,
    session: Option<Session>,
    /// How many messages of the transcript are older than this run.
    inherited: usize,
    turns_taken: u32,
    classifier: ReplyClassifier,
    guard: LoopGuard,
    /// Set when a limit was met: the next turn is the last one, without tools, and the run then ends in this way.
    wrapping_up: Option<RunEnd>,
    /// The provider refused the task or something in it. The session then does not keep it, because the provider would
    /// refuse every later task of the session too.
    refused: bool,
    /// True while no reply has shown that the model's calls are metered. The loop then checks the token budget itself.
    unmetered: bool,
    /// The model that gave the last reply.
    answered_by: Option<ModelId>,
}

/// The note stays in the session. The words "for this task" keep the model from applying it to later tasks.
const WRAP_UP_NOTE: &str = "[notice] This is your last turn for this task: tools are off now. Answer with what you have, \
                            and say what is missing.";

impl Agent {
    async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        AgentLoop::new(self, &run).run(task).await
    }
}

crate::impl_runnable!(Agent);

impl<'a> AgentLoop<'a> {
    fn new(agent: &'a Agent, run: &'a Run) -> Self {
        Self {
            agent,
            run,
            request: agent.first_request(),
            session: None,
            inherited: 0,
            turns_taken: 0,
            classifier: ReplyClassifier::new(agent.output.clone(), agent.limits.reasks),
            guard: LoopGuard::new(agent.limits),
            wrapping_up: None,
            refused: false,
            unmetered: true,
            answered_by: None,
        }
    }

    /// Works on `task` until the run ends, and stores the new messages, also if the run fails.
    async fn run(mut self, task: Task) -> Result<Outcome, RunError> {
        let mut result = self.work_on(task).await;
        self.request.transcript.abandon_calls("The run ended before this tool was run.");
        if let Err(error) = self.run.check_journal() {
            // The run goes on elsewhere or later, and its messages are stored then.
            result = Err(error.into());
            self.session = None;
        }
        if let Some(session) = self.session.as_ref().filter(|_| !self.refused) {
            session.append(self.new_messages(), self.run).await;
            self.run.check_journal().map_err(|error| RunError::before(self.run, error))?;
        }
        let end = match result {
            Ok(end) | Err(Exit::Ended(end)) => end,
            Err(Exit::Interrupted(interruption)) => RunEnd::interrupted(interruption, self.run),
            Err(Exit::Failed(failure)) => return Err(RunError::new(self.run, failure, self.request.transcript)),
        };
        Ok(self.outcome(end))
    }

    /// The loop: check the limits, ask the model, then finish, run tools, or ask again.
    async fn work_on(&mut self, task: Task) -> Result<RunEnd, Exit> {
        self.begin(task).await?;
        loop {
            self.check_limits()?;
            let reply = self.ask().await?;
            match self.classifier.next_step(&reply, self.wrapping_up.is_some()) {
                NextStep::Finish(text) => {
                    self.push_last(reply.message)?;
                    return Ok(self.wrapping_up.take().unwrap_or_else(RunEnd::finished).with_text(text));
                }
                NextStep::Stop(end) => {
                    self.refused = end.stop == StopReason::Refused;
                    self.push_last(reply.message)?;
                    return Ok(end);
                }
                NextStep::RunTools => self.run_tools(reply.message).await?,
                NextStep::Continue => self.request.transcript.push(reply.message)?,
                NextStep::AskAgain { keep_reply, note } => {
                    self.ask_again(keep_reply.then_some(reply.message), note)?;
                }
            }
        }
    }

    /// Puts the conversation together: the history or the stored session, then the task with the notes that fit it.
    async fn begin(&mut self, task: Task) -> Result<(), Exit> {
        self.agent.check().map_err(RunFailure::Setup)?;
        self.run.check_journal()?;
        let Task { message, history: mut transcript, session } = task;
        self.session = Session::new(self.agent.options.memory.as_ref(), session);
        if let Some(session) = &self.session
            && transcript.is_empty()
        {
            transcript = session.load(self.run).await?;
        }
        transcript.abandon_calls("The earlier run ended before this tool was run.");
        self.inherited = transcript.len();
        match message {
            Some(message) if says_something(&message) => {
                self.run.add_to_digest(&message);
                let task = self.run.until_stopped(self.agent.with_notes(message, &transcript, self.run)).await??;
                transcript.push_task(task)?;
            }
            None if !transcript.is_empty() => {}
            Some(_) | None => return Err(TranscriptError::NothingAsked.into()),
        }
        self.request.transcript = transcript;
        Ok(())
    }

    /// Checks before a model call whether it may be made, and whether it has to be the last one.
    fn check_limits(&mut self) -> Result<(), Exit> {
        if let Some(TurnRecord { wrapping_up, .. }) = self.run.recorded(format_args!("{}", self.turns_taken + 1)) {
            self.run.ledger().replay_turn();
            if let Some(end) = wrapping_up.filter(|_| self.wrapping_up.is_none()) {
                self.wrap_up(end);
            }
            return Ok(());
        }
        self.run.check()?;
        let limit = self.agent.limits.turns.max(1);
        let out_of_turns = || RunEnd::max_turns(self.agent.name(), limit);
        if self.turns_taken >= limit {
            return Err(Exit::Ended(self.wrapping_up.take().unwrap_or_else(out_of_turns)));
        }
        // An agent limited to one turn may use it as it likes: the last turn is announced only after another one.
        if self.turns_taken > 0 && self.turns_taken + 1 == limit && self.wrapping_up.is_none() {
            self.wrap_up(out_of_turns());
        }
        let Err(refusal) = self.take_turn(self.wrapping_up.is_some()) else { return Ok(()) };
        self.run.emit(&Event::budget_refused(&refusal));
        let end = RunEnd::budget_exceeded(&refusal);
        if self.wrapping_up.is_none() && self.take_turn(true).is_ok() {
            self.wrap_up(end);
            return Ok(());
        }
        Err(Exit::Ended(self.wrapping_up.take().unwrap_or(end)))
    }

    fn take_turn(&self, is_last: bool) -> Result<(), BudgetExceeded> {
        let ledger = self.run.ledger();
        if self.unmetered {
            ledger.check(Estimate { input_tokens: 1, ..Estimate::default() }, is_last)?;
        }
        ledger.take_turn(is_last)
    }

    /// Makes the next turn the last one, with tools off.
    fn wrap_up(&mut self, end: RunEnd) {
        self.wrapping_up = Some(end);
        self.request.settings.tool_choice = ToolChoice::None;
        // No call is open between two turns, so a user message always fits.
        let _ = self.request.transcript.push(Message::user(WRAP_UP_NOTE));
    }

    /// Takes one turn. A call that failed is repeated as part of the same turn where asking differently can help.
    async fn ask(&mut self) -> Result<ChatReply, Exit> {
        self.turns_taken += 1;
        let mut again = 0;
        loop {
            let run = if self.wrapping_up.is_some() { self.run.wrapping_up() } else { self.run.clone() };
            self.fit_window(again, &run).await?;
            let asked = TurnRequest { turn: self.turns_taken, again, wrapping_up: self.wrapping_up.as_ref() };
            match turn::ask(&*self.agent.model, &self.request, &run, asked).await {
                Ok(reply) => {
                    self.answered_by.clone_from(&reply.answered_by);
                    return self.check_price(reply);
                }
                Err(TurnError::Interrupted(interruption)) => return Err(Exit::Interrupted(interruption)),
                Err(TurnError::Journal(error)) => return Err(error.into()),
                Err(TurnError::Model(error)) => self.recover(error, again).await?,
            }
            again += 1;
        }
    }

    /// Hides old messages if the request is too long. A turn that is recorded was asked with what was hidden then.
    async fn fit_window(&mut self, again: u32, run: &Run) -> Result<(), Exit> {
        let asked = TurnRequest { turn: self.turns_taken, again, wrapping_up: None };
        let inside = run.part(asked);
        let is_recorded = run.recorded::<IgnoredAny>(format_args!("{asked}")).is_some();
        let excess = self.agent.window.excess(&self.request).filter(|_| !is_recorded);
        if excess.is_some() || inside.recorded::<IgnoredAny>(format_args!("summary")).is_some() {
            self.shrink(excess.unwrap_or_default(), &inside).await?;
        }
        Ok(())
    }

    /// Ends the run after a reply without a price if there is a money budget, which then cannot be kept.
    fn check_price(&mut self, reply: ChatReply) -> Result<ChatReply, Exit> {
        self.unmetered = reply.charge.is_none();
        match turn::refuse_unmetered(&reply, self.model(), self.run) {
            None => Ok(reply),
            Some(reason) => {
                self.push_last(reply.message)?;
                Err(Exit::Ended(RunEnd::budget(&reason)))
            }
        }
    }

    /// Changes the request after a failed call if the model should be asked again; otherwise the run ends.
    async fn recover(&mut self, error: ModelError, again: u32) -> Result<(), Exit> {
        self.run.check_journal()?;
        // The model's wrappers watch the deadline too, and may notice it first.
        self.run.check()?;
        self.refused =
            matches!(error.kind(), ModelErrorKind::Caller | ModelErrorKind::Refused | ModelErrorKind::ContextLength);
        match error.kind() {
            ModelErrorKind::Budget if self.wrapping_up.is_none() => {
                self.wrap_up(RunEnd::call_refused(&error));
                return Ok(());
            }
            ModelErrorKind::Refused => return Err(Exit::Ended(RunEnd::new(StopReason::Refused, error.to_string()))),
            ModelErrorKind::ContextLength => {
                let keep = self.request.estimated_input_tokens() / 2;
                let next = TurnRequest { turn: self.turns_taken, again: again + 1, wrapping_up: None };
                if self.shrink(keep, &self.run.part(next).part("refused")).await? {
                    self.refused = false;
                    return Ok(());
                }
            }
            ModelErrorKind::Budget
            | ModelErrorKind::Caller
            | ModelErrorKind::NoSuchModel
            | ModelErrorKind::Auth
            | ModelErrorKind::Quota
            | ModelErrorKind::RateLimited
            | ModelErrorKind::Overloaded
            | ModelErrorKind::Unreachable
            | ModelErrorKind::Transient
            | ModelErrorKind::Timeout(_)
            | ModelErrorKind::Broken
            | ModelErrorKind::CircuitOpen
            | ModelErrorKind::Cancelled => {}
        }
        // While wrapping up, the run ends at the limit that was met: it can do without the last answer.
        Err(match self.wrapping_up.take() {
            Some(end) => Exit::Ended(end.without_answer(&error)),
            None => Exit::Failed(RunFailure::Model(error)),
        })
    }

    /// Hides old messages until about `keep` tokens are left. Returns whether any message was hidden.
    async fn shrink(&mut self, keep: u64, run: &Run) -> Result<bool, Exit> {
        let step = run.open_step::<Option<Trim>>(format_args!("summary"), "summary", Effect::Repeatable, || 0)?;
        let trim = match step {
            Step::Recorded(trim) => trim,
            Step::New(step) => {
                let trim = self.agent.window.trim(&self.request, keep, &step.run);
                let trim = run.until_stopped(trim).await?;
                step.done(&trim).await?;
                trim
            }
        };
        Ok(trim.map(|trim| trim.apply(&mut self.request, run)).is_some())
    }

    /// Runs the tools that the reply asks for.
    async fn run_tools(&mut self, reply: Message) -> Result<(), Exit> {
        let model = self.model().clone();
        turn::push_calls(&mut self.request, reply, &model, self.run)?;
        let Some(message) = self.request.transcript.messages().last().cloned() else { return Ok(()) };
        let calls: Vec<_> = message.tool_calls().collect();
        let context = CallContext { run: self.run, turn: self.turns_taken, disabled: self.guard.disabled() };
        let mut done = self.agent.toolbox.run_calls(&calls, context).await;
        self.run.check_journal()?;
        // A limit does not end what went on after these calls, when it may have been another one.
        let went_on = self.run.recorded::<IgnoredAny>(format_args!("{}", self.turns_taken + 1)).is_some();
        let looping = self.guard.inspect(&mut done, self.run).filter(|_| !went_on);
        let failure = done.iter().find(|call| call.status == ToolStatus::Fatal).map(tool_failure);
        let ended_by_tool = done.iter().find(|call| call.ends_run).map(RunEnd::ended_by_tool);
        let refused = done.iter().find(|call| call.status == ToolStatus::Budget).map(RunEnd::tool_refused);
        self.request.transcript.answer_calls(done.into_iter().map(|call| call.result).collect())?;
        if let Some(failure) = failure {
            return Err(Exit::Failed(failure));
        }
        if let Some(end) = looping.or(ended_by_tool) {
            return Err(Exit::Ended(end));
        }
        if let Some(end) = refused {
            self.wrap_up(end);
        }
        Ok(())
    }

    /// Asks again for a usable answer. Shows the model the reply that was rejected, if there is one to show.
    fn ask_again(&mut self, rejected: Option<Message>, note: String) -> Result<(), TranscriptError> {
        if let Some(message) = rejected {
            self.request.transcript.push(message)?;
            self.request.transcript.abandon_calls("Tools are off: this one was not run.");
        }
        self.run.emit(&Event::AnswerRejected { reason: note.as_str().into(), attempt: self.classifier.rejections() });
        self.classifier.raise_output_limit(&mut self.request.settings, self.agent.model.settings());
        self.request.transcript.push(Message::user(note))
    }

    /// Adds the last message, unless it is empty: providers reject a history with an empty answer in it.
    fn push_last(&mut self, message: Message) -> Result<(), TranscriptError> {
        if says_something(&message) { self.request.transcript.push(message) } else { Ok(()) }
    }

    fn outcome(mut self, end: RunEnd) -> Outcome {
        for met in [Some(&end), self.wrapping_up.as_ref()].into_iter().flatten() {
            if met.stop == StopReason::Budget {
                self.run.report_exhausted(met.exhausted.as_deref(), &met.notice);
            }
        }
        let text = end.text.unwrap_or_else(|| self.best_so_far());
        let transcript = mem::take(&mut self.request.transcript);
        let mut outcome = Outcome::new(self.run.trace(), end.stop, text, transcript);
        outcome.notice = end.notice;
        outcome.inherited = self.inherited;
        outcome.ended_by = end.ended_by;
        outcome.turns = self.turns_taken;
        outcome.model = self.answered_by;
        outcome
    }

    fn model(&self) -> &ModelId {
        self.answered_by.as_ref().unwrap_or(self.agent.model.id())
    }

    fn new_messages(&self) -> &[Message] {
        self.request.transcript.messages().get(self.inherited..).unwrap_or_default()
    }

    /// The text to show when there is no final answer: the model's last text, or else the results of its tools.
    fn best_so_far(&self) -> String {
        let replies = self.new_messages().iter().rev().filter(|message| message.role() == Role::Assistant);
        let last_text = replies.map(|message| message.text().trim().to_owned()).find(|text| !text.is_empty());
        last_text.unwrap_or_else(|| {
            let results = self.new_messages().iter().flat_map(Message::tool_results);
            let results = results.filter(|result| !result.is_error);
            let lines = results.map(|result| format!("{}: {}", result.name, result.text()));
            lines.collect::<Vec<_>>().join("\n")
        })
    }
}

fn tool_failure(call: &ToolCallOutcome) -> RunFailure {
    let reason = call.reason.clone().unwrap_or_else(|| "no cause was given".to_owned());
    RunFailure::Tool { tool: call.result.name.clone(), message: call.result.text(), reason }
}

fn says_something(message: &Message) -> bool {
    message.parts().iter().any(|part| match part {
        Part::Text(text) => !text.text.trim().is_empty(),
        Part::Thinking(_) => false,
        Part::ToolCall(_) | Part::ToolResult(_) | Part::Image(_) | Part::Opaque(_) => true,
    })
}

#[cfg(test)]
mod tests;
