//! Starts a run for a request. A request may tighten the configured limits, never loosen them.

use std::{sync::Arc, time::Duration};

use brigade_config::CallerInstructions;
use brigade_core::{Agent, Budget, Cap, Memory, Money, Observer, Run, RunBuilder, Scope, Settings, Task, ToolChoice};
use brigade_durable::{ClaimedRun, Submission};
use brigade_openai::{ClientCalls, ClientTools, ShownText};

use super::{ApiError, access::Caller, api::Api, durable_runs, request_ids::RequestIds};
use crate::{
    agents::served::ServedAgent,
    runs::{event_log::EventLog, new_run::NewRun, run_handle::RunHandle},
};

/// A run that a client asks for.
#[derive(Debug)]
pub(crate) struct RunRequest {
    pub(crate) agent: Arc<ServedAgent>,
    pub(crate) task: Task,
    /// The client's instructions, which follow the agent's own.
    pub(crate) instructions: String,
    pub(crate) settings: Settings,
    pub(crate) limits: CallerLimits,
    /// The client's session, if it has one.
    pub(crate) session: Option<Arc<str>>,
    /// Keeps the run's events for clients that follow it.
    pub(crate) keeps_events: bool,
    /// An additional observer of the run.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether the answer is streamed.
    pub(crate) deltas: bool,
    /// True if partial output cannot be taken back, so a reply must not restart.
    pub(crate) append_only: bool,
    /// The conversation that the run continues, in place of a session.
    pub(crate) memory: Option<Arc<dyn Memory>>,
    /// Tools that the client runs.
    pub(crate) client_calls: Option<Arc<ClientCalls>>,
    pub(crate) durability: Durability,
    /// How long calls that need an approval wait before the run is suspended.
    pub(crate) hold: Duration,
}

/// Whether a run survives the end of this process.
#[derive(Debug, Default)]
pub(crate) enum Durability {
    #[default]
    None,
    /// It is stored before it starts.
    Submit(Box<Submission>),
    /// It was stored, and this process carries it on.
    Claimed(Box<ClaimedRun>),
}

/// Limits that a client sets for one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallerLimits {
    pub(crate) usd: Option<Money>,
    pub(crate) tokens: Option<u64>,
    pub(crate) turns: Option<u64>,
    pub(crate) wall: Option<Duration>,
}

const MAX_USER_BYTES: usize = 256;

impl RunRequest {
    /// A request with the agent's settings, which neither streams nor keeps events.
    pub(crate) fn new(agent: Arc<ServedAgent>, task: Task) -> Self {
        let settings = agent.agent.model_settings().clone();
        Self {
            agent,
            task,
            instructions: String::new(),
            settings,
            limits: CallerLimits::default(),
            session: None,
            keeps_events: false,
            observer: None,
            deltas: false,
            append_only: false,
            memory: None,
            client_calls: None,
            durability: Durability::None,
            hold: Duration::ZERO,
        }
    }

    /// Adds tools that the client runs. Returns the names of tools that are not added: the agent has a tool of this name, or
    /// only the servers of the vendor have such a tool.
    pub(crate) fn add_client_tools(&mut self, tools: ClientTools) -> Result<Vec<String>, ApiError> {
        let ClientTools { specs, choice, mut ignored, .. } = tools;
        let own = self.agent.agent.toolbox().specs().specs();
        let (clashing, specs): (Vec<_>, Vec<_>) =
            specs.into_iter().partition(|spec| own.iter().any(|own| own.name == spec.name));
        ignored.extend(clashing.iter().map(|spec| spec.name.to_string()));
        // The choice holds for each turn, so the model would call the agent's own tools again and again.
        let is_of_client = match &choice {
            ToolChoice::Required => own.is_empty(),
            ToolChoice::Named(name) => specs.iter().any(|spec| *spec.name == **name),
            ToolChoice::Auto | ToolChoice::None => true,
        };
        if !is_of_client {
            let message =
                "the agent has tools of its own, which a request cannot demand; use \"auto\", or name another tool";
            return Err(ApiError::unsupported("tool_choice", message));
        }
        if !specs.is_empty() && choice != ToolChoice::None {
            let shown = Arc::new(ShownText::default());
            self.client_calls = Some(ClientCalls::new(specs, Arc::clone(&shown)));
            self.observer = Some(shown);
            self.deltas = true;
            self.settings.tool_choice = choice;
        }
        Ok(ignored)
    }

    /// Starts the run. A run that was claimed was admitted before, so it does not count against the limit of its key.
    pub(crate) async fn start(self, api: &Api, caller: &Caller, ids: RequestIds) -> Result<Arc<RunHandle>, ApiError> {
        let parts = self.agent().and_then(|agent| Ok((agent, scope(caller, self.settings.user.as_deref())?)));
        let (agent, scope) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                if let Durability::Claimed(claimed) = self.durability {
                    claimed.fail(error.message.clone()).await;
                }
                return Err(error);
            }
        };
        let budget = self.limits.tighten(&self.agent.budget);
        let longest_wait = budget.wall.into_iter().fold(api.longest_wait, Duration::min);
        let limit = caller.max_runs.filter(|_| !matches!(self.durability, Durability::Claimed(_)));
        let slot = match api.runs().reserve(&caller.name, limit, longest_wait).await {
            Ok(slot) => slot,
            Err(error) => {
                // Else each refusal would count as an attempt of the run, and the last one would set it aside.
                if let Durability::Claimed(claimed) = self.durability {
                    claimed.release().await;
                }
                return Err(error.into());
            }
        };
        let agent = match (self.memory, &api.store, &api.sessions) {
            (Some(memory), ..) => agent.memory(memory),
            (None, Some(store), _) => agent.memory(store.memory()),
            (None, None, Some(sessions)) => agent.memory(sessions.memory()),
            (None, None, None) => agent,
        };
        let run = Run::builder()
            .scope(scope)
            .id(ids.run)
            .trace(ids.trace)
            .account(match self.limits.replaced(&self.agent.budget) {
                Some(soft) => caller.account.child("the agent", soft),
                None => caller.account.clone(),
            })
            .budget(budget)
            .deltas(self.deltas)
            .append_only(self.append_only);
        let claimed = match self.durability {
            Durability::None => None,
            Durability::Submit(submission) => durable_runs::start(api, *submission).await?,
            Durability::Claimed(claimed) => Some(*claimed),
        };
        let claimed = claimed.map(|claimed| claimed.hold(self.hold));
        let run = claimed.iter().fold(run, |run, claimed| claimed.prepare(run));
        let recorder = api.store.as_ref().map(|store| store.recorder(&caller.name, self.session.as_ref()));
        let last = durable_runs::last_event(api, claimed.as_ref()).await;
        let recorder = recorder.map(|recorder| recorder.after(last));
        // The log records the events too, so that they have the same numbers in memory and in the store.
        let (recorder, events) = match recorder {
            Some(recorder) if self.keeps_events && last > 0 => (None, Some(EventLog::resumed(recorder))),
            recorder if self.keeps_events => (None, Some(EventLog::recorded_by(recorder))),
            recorder => (recorder.map(|recorder| Arc::new(recorder) as Arc<dyn Observer>), None),
        };
        let observers =
            api.observers.iter().cloned().chain(api.spans.as_ref().and_then(|spans| spans.observer(ids.parent)));
        let log = events.clone().map(|events| events as Arc<dyn Observer>);
        let run = observers.chain(recorder).chain(log).chain(self.observer).fold(run, RunBuilder::observer);
        let new = NewRun::new(run.build(), agent, self.task)
            .owner(Arc::clone(&caller.name))
            .session(self.session)
            .events(events)
            .store(api.store.clone())
            .client_calls(self.client_calls)
            .claimed(claimed);
        Ok(api.runs().start_in(slot, new))
    }

    /// A stored run may go on in another process, which does not know the client's calls.
    pub(super) fn refuse_client_tools(&self) -> Result<(), ApiError> {
        if self.client_calls.is_none() {
            return Ok(());
        }
        let message = "a run in the background, or one whose calls may wait for approvals, takes no tools of clients; leave \
                       `tools` out, or use an agent without approvals";
        Err(ApiError::unsupported("tools", message))
    }

    fn agent(&self) -> Result<Agent, ApiError> {
        let agent = self.agent.agent.clone().settings(self.settings.clone());
        let agent = self.client_calls.iter().fold(agent, |agent, client| client.add_to(agent));
        if self.instructions.is_empty() {
            return Ok(agent);
        }
        match self.agent.caller_instructions {
            CallerInstructions::Append => {
                let own = agent.system_prompt();
                let gap = if own.is_empty() { "" } else { "\n\n" };
                Ok(agent.instructions(format!("{own}{gap}{}", self.instructions)))
            }
            CallerInstructions::Refuse => {
                let message = "this agent does not accept instructions; send only user and assistant messages";
                Err(ApiError::unsupported("messages", message))
            }
        }
    }
}

/// The scope of notes. Each key has separate notes, and within a key each user that a request names.
fn scope(caller: &Caller, user: Option<&str>) -> Result<Scope, ApiError> {
    let scope = Scope::default().tenant(Arc::clone(&caller.name));
    match user {
        None | Some("") => Ok(scope),
        Some(user) if user.len() > MAX_USER_BYTES => {
            Err(ApiError::field("user", format!("`user` is longer than {MAX_USER_BYTES} bytes; send a shorter id")))
        }
        Some(user) => Ok(scope.user(user)),
    }
}

impl CallerLimits {
    /// The configured budget with these limits where they are lower.
    fn tighten(self, budget: &Budget) -> Budget {
        let mut tightened = budget.clone();
        tightened.usd = lower(budget.usd, self.usd);
        tightened.tokens = lower(budget.tokens, self.tokens);
        tightened.turns = lower(budget.turns, self.turns);
        tightened.wall = budget.wall.into_iter().chain(self.wall).min();
        tightened
    }

    /// The configured soft limits that limits of the client replace. They still warn.
    fn replaced(self, budget: &Budget) -> Option<Budget> {
        let mut soft = Budget::default();
        soft.usd = budget.usd.filter(|cap| cap.soft && self.usd.is_some());
        soft.tokens = budget.tokens.filter(|cap| cap.soft && self.tokens.is_some());
        soft.turns = budget.turns.filter(|cap| cap.soft && self.turns.is_some());
        (soft != Budget::default()).then_some(soft)
    }
}

/// A hard limit is never raised. A soft limit is replaced: [`CallerLimits::replaced`] keeps it in an account of its own.
fn lower<T: Ord + Copy>(configured: Option<Cap<T>>, asked: Option<T>) -> Option<Cap<T>> {
    let Some(asked) = asked else { return configured };
    let hard = configured.filter(|cap| !cap.soft).map(|cap| cap.limit);
    Some(Cap::hard(hard.map_or(asked, |hard| hard.min(asked))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_only_lower_limits() {
        let budget = Budget::default().usd("0.50").unwrap().wall(Duration::from_mins(1));
        let higher =
            CallerLimits { usd: "9".parse().ok(), wall: Some(Duration::from_secs(90)), ..CallerLimits::default() };
        assert_eq!(higher.tighten(&budget), budget);
        let lower = CallerLimits { usd: "0.10".parse().ok(), turns: Some(2), ..CallerLimits::default() };
        let expected = Budget::default().usd("0.10").unwrap().turns(2).wall(Duration::from_mins(1));
        assert_eq!(lower.tighten(&budget), expected);
    }

    #[test]
    fn a_soft_limit_still_warns_beside_a_limit_of_the_client() {
        let mut budget = Budget::default().turns(3);
        budget.tokens = Some(Cap::soft(100));
        for tokens in [10, 1_000] {
            let limits = CallerLimits { tokens: Some(tokens), turns: Some(9), ..CallerLimits::default() };
            let run = limits.tighten(&budget);
            assert_eq!((run.tokens, run.turns), (Some(Cap::hard(tokens)), Some(Cap::hard(3))));
            let mut soft = Budget::default();
            soft.tokens = Some(Cap::soft(100));
            assert_eq!(limits.replaced(&budget), Some(soft), "{tokens}");
        }
        assert_eq!(CallerLimits::default().replaced(&budget), None);
        assert_eq!(CallerLimits::default().tighten(&budget), budget);
    }
}
