//! The agent loop. There is no other.

use std::sync::Arc;

use crate::{
    Agent, ChatReply, ChatRequest, Event, Message, ModelError, ModelErrorKind, Outcome, Part, Role, Run, RunError,
    RunFailure, StopReason, ToolChoice,
    agent::Task,
    answer::{Answer, Judge},
    guard::Guard,
    message::texts,
    outcome::chain,
    toolbox::{CallEnd, Done},
    turn,
};

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
    session: Option<Arc<str>>,
}

/// How the loop ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) stop: StopReason,
    /// What to know about it, for a person.
    pub(crate) notice: String,
    /// The answer, where there is a better one than what the transcript holds.
    pub(crate) text: Option<String>,
    pub(crate) ended_by: Option<Arc<str>>,
}

/// The last turn must not be the only one: an agent limited to one turn may use it as it likes.
const WRAP_UP_NOTE: &str =
    "[notice] This is your last turn: tools are off now. Answer with what you have, and say what is missing.";

impl<'a> Turns<'a> {
    pub(crate) fn new(agent: &'a Agent, run: &'a Run) -> Self {
        Self {
            agent,
            run,
            request: agent.first_request(crate::Transcript::new()),
            inherited: 0,
            taken: 0,
            judge: Judge::new(agent),
            guard: Guard::new(agent.limits.guard),
            closing: None,
            session: None,
        }
    }

    pub(crate) async fn run(mut self, task: Task) -> Result<Outcome, RunError> {
        let end = match self.begin(task).await {
            Ok(()) => self.turns().await,
            Err(failure) => Err(failure),
        };
        self.request.transcript.abandon_calls("The run ended before this tool was run.");
        match end {
            Ok(end) => match self.remember().await {
                Ok(()) => Ok(self.outcome(end)),
                Err(failure) => Err(self.failed(failure)),
            },
            Err(failure) => {
                // The failure is what the caller must know of; that its session is not kept either adds nothing.
                let _ = self.remember().await;
                Err(self.failed(failure))
            }
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
                Asked::Again => continue,
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
                    self.request.transcript.push(reply.message)?;
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
        let refusal = self.run.ledger().take_turn().err()?;
        self.run.emit(&Event::BudgetRefused(refusal.clone()));
        Some(End::budget(&refusal))
    }

    /// Makes the next turn the last one, with tools off.
    fn close(&mut self, end: End) {
        self.closing = Some(end);
        self.request.settings.tool_choice = ToolChoice::None;
        // No call is open between two turns, so a user message always fits.
        let _ = self.request.transcript.push(Message::user(WRAP_UP_NOTE));
    }

    async fn ask(&mut self) -> Result<Asked, RunFailure> {
        self.agent.window.fit(&mut self.request, self.run).await.map_err(RunFailure::Model)?;
        self.taken += 1;
        let run = if self.closing.is_some() { self.run.wrapping_up() } else { self.run.clone() };
        match turn::ask(&*self.agent.model, &self.request, (&run, self.taken)).await {
            Ok(Ok(reply)) => match turn::unmetered(&reply, self.agent, &run) {
                None => Ok(Asked::Reply(Box::new(reply))),
                Some(end) => {
                    self.keep(reply.message)?;
                    Ok(Asked::End(end))
                }
            },
            Ok(Err(error)) => self.after_failure(error).await,
            Err(stopped) => Ok(Asked::End(End::stopped(stopped, self.run))),
        }
    }

    /// A failed call ends the run, except where asking differently can help.
    async fn after_failure(&mut self, error: ModelError) -> Result<Asked, RunFailure> {
        // Whoever waits on the way to the model watches the run's time as well, and may notice its end first.
        if let Err(stopped) = self.run.check() {
            return Ok(Asked::End(End::stopped(stopped, self.run)));
        }
        match error.kind() {
            ModelErrorKind::Budget if self.closing.is_none() => {
                self.taken -= 1;
                self.close(End::budget(&chain(&error)));
                Ok(Asked::Again)
            }
            ModelErrorKind::Budget => {
                Ok(Asked::End(self.closing.take().unwrap_or_else(|| End::budget(&chain(&error)))))
            }
            ModelErrorKind::Refused => Ok(Asked::End(End::new(StopReason::Refused, error.to_string()))),
            ModelErrorKind::ContextLength => {
                let keep = self.request.estimated_input_tokens() / 2;
                let shrunk = self.agent.window.shrink(&mut self.request, keep, self.run).await;
                if shrunk.map_err(RunFailure::Model)? { Ok(Asked::Again) } else { Err(RunFailure::Model(error)) }
            }
            _ => Err(RunFailure::Model(error)),
        }
    }

    async fn use_tools(&mut self) -> Result<Option<End>, RunFailure> {
        let Some(message) = self.request.transcript.messages().last().cloned() else { return Ok(None) };
        let calls: Vec<_> = message.tool_calls().collect();
        let mut done = self.agent.toolbox.call_all(&calls, self.run, self.taken).await;
        let circling = self.guard.watch(&mut done, self.run);
        let fatal = done.iter().find(|call| call.end == CallEnd::Fatal).map(fatal);
        let end = done.iter().find(|call| call.ends_run).map(End::by_tool);
        self.request.transcript.answer_calls(done.into_iter().map(|call| call.result).collect())?;
        match (fatal, circling) {
            (Some(failure), _) => Err(failure),
            (None, Some(why)) => {
                Ok(Some(End::new(StopReason::LoopDetected, format!("The agent repeats itself: {why}."))))
            }
            (None, None) => Ok(end),
        }
    }

    /// Keeps a last message, unless it says nothing: providers refuse a history with an empty answer in it.
    fn keep(&mut self, message: Message) -> Result<(), RunFailure> {
        let says_something = message.parts().iter().any(|part| match part {
            Part::Text(text) => !text.text.trim().is_empty(),
            Part::Thinking(_) => false,
            Part::ToolCall(_) | Part::ToolResult(_) | Part::Image(_) | Part::Opaque(_) => true,
        });
        if says_something {
            self.request.transcript.push(message)?;
        }
        Ok(())
    }

    fn ask_again(&mut self, rejected: Option<Message>, note: String) -> Result<(), RunFailure> {
        if let Some(message) = rejected {
            self.request.transcript.push(message)?;
        }
        self.run.emit(&Event::AnswerRejected { reason: note.as_str().into(), attempt: self.judge.rejections() });
        self.judge.widen(&mut self.request.settings);
        Ok(self.request.transcript.push(Message::user(note))?)
    }

    async fn begin(&mut self, task: Task) -> Result<(), RunFailure> {
        self.agent.check()?;
        self.session = task.session;
        let mut transcript = task.history;
        if let (Some(memory), Some(session)) = (&self.agent.memory, &self.session) {
            transcript = crate::Transcript::repaired(memory.load(session).await.map_err(RunFailure::Memory)?);
        }
        self.inherited = transcript.len();
        if let Some(message) = task.message {
            transcript.push_task(message)?;
        }
        self.request.transcript = transcript;
        Ok(())
    }

    async fn remember(&self) -> Result<(), RunFailure> {
        let (Some(memory), Some(session)) = (&self.agent.memory, &self.session) else { return Ok(()) };
        let new = self.request.transcript.messages().get(self.inherited..).unwrap_or_default();
        memory.append(session, new).await.map_err(RunFailure::Memory)
    }

    fn outcome(self, end: End) -> Outcome {
        let text = end.text.unwrap_or_else(|| self.best_so_far());
        Outcome {
            notice: end.notice,
            inherited: self.inherited,
            ended_by: end.ended_by,
            turns: self.taken,
            ..Outcome::new(end.stop, text, self.request.transcript)
        }
    }

    /// What there is to show when no answer came: the last words of the model, or else what its tools found.
    fn best_so_far(&self) -> String {
        let new = self.request.transcript.messages().get(self.inherited..).unwrap_or_default();
        let words = new.iter().rev().filter(|message| message.role() == Role::Assistant);
        let words = words.map(|message| message.text().trim().to_owned()).find(|text| !text.is_empty());
        words.unwrap_or_else(|| {
            let results = new.iter().flat_map(Message::tool_results).filter(|result| !result.is_error);
            let texts = results.map(|result| format!("{}: {}", result.name, texts(&result.content)));
            texts.collect::<Vec<_>>().join("\n")
        })
    }

    fn failed(self, cause: RunFailure) -> RunError {
        RunError::new(self.run, cause, self.request.transcript)
    }
}

/// What came of asking the model.
enum Asked {
    Reply(Box<ChatReply>),
    Again,
    End(End),
}

impl End {
    pub(crate) fn new(stop: StopReason, notice: impl Into<String>) -> Self {
        Self { stop, notice: notice.into(), text: None, ended_by: None }
    }

    fn finished() -> Self {
        Self::new(StopReason::Finished, "")
    }

    fn max_turns(agent: &str, limit: u32) -> Self {
        let notice = format!("{agent} used all of its {limit} turns; raise its turn limit or give it a smaller task.");
        Self::new(StopReason::MaxTurns, notice)
    }

    pub(crate) fn budget(refusal: &impl std::fmt::Display) -> Self {
        Self::new(StopReason::Budget, format!("Stopped before the next call: {refusal}."))
    }

    fn stopped(stopped: crate::Stopped, run: &Run) -> Self {
        let notice = match stopped {
            crate::Stopped::Cancelled => "The run was cancelled.".to_owned(),
            crate::Stopped::Deadline => format!("The time of {} was up.", run.agent()),
        };
        Self::new(stopped.into(), notice)
    }

    fn by_tool(call: &Done) -> Self {
        let ended_by = Some(call.result.name.as_str().into());
        Self { text: Some(texts(&call.result.content)), ended_by, ..Self::finished() }
    }

    fn with_text(self, text: String) -> Self {
        Self { text: (!text.is_empty()).then_some(text), ..self }
    }
}

fn fatal(call: &Done) -> RunFailure {
    RunFailure::Tool { tool: call.result.name.clone(), message: texts(&call.result.content) }
}
