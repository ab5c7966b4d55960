//! The workloads, defined once for both contenders and for the simulator.

use brigade_rehearsal::{AgentMatcher, RequestMatcher, Script, ScriptedAnswer, ScriptedToolCall};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The work of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// One agent, one call.
    #[value(name = "chat-1")]
    #[serde(rename = "chat-1")]
    Chat,
    /// One agent that uses a tool ten times, so that its history grows.
    #[value(name = "tool-loop")]
    ToolLoop,
    /// A supervisor that calls four workers at once. Each uses a tool.
    #[value(name = "supervisor-4")]
    #[serde(rename = "supervisor-4")]
    Supervisor,
}

/// An agent as the model sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentSpec {
    pub(crate) name: &'static str,
    pub(crate) model: &'static str,
    /// Its description in the supervisor's list of tools.
    pub(crate) purpose: &'static str,
    pub(crate) instructions: &'static str,
}

pub(crate) const ORACLE: AgentSpec = AgentSpec {
    name: "oracle",
    model: "gpt-5-mini",
    purpose: "",
    instructions: "You are oracle. Answer in one paragraph, name your sources, and say what you are not sure of. \
        Do not repeat the question, and do not offer further help.",
};

pub(crate) const CLERK: AgentSpec = AgentSpec {
    name: "clerk",
    model: "gpt-5-mini",
    purpose: "",
    instructions: "You are clerk. Look up every subject of the task with the tool, one after the other, and check \
        each figure against the one before. RequestMatcher all are there, write a summary of two paragraphs: the first says \
        what holds, the second what does not. Never state a figure that no lookup has shown.",
};

pub(crate) const DESK: AgentSpec = AgentSpec {
    name: "desk",
    model: "gpt-5",
    purpose: "",
    instructions: "You are desk. Plan the work, delegate its parts to your workers at once, and then answer in your \
        own words. Say what the workers disagree about. Do not do the work of a worker yourself.",
};

pub(crate) const WORKERS: [AgentSpec; 4] = [
    worker("researcher", "Finds facts and cites each one."),
    worker("analyst", "Compares figures and says what they mean."),
    worker("critic", "Lists what a draft has not proven."),
    worker("editor", "Writes the text that people read."),
];

const fn worker(name: &'static str, purpose: &'static str) -> AgentSpec {
    AgentSpec {
        name,
        model: "gpt-5-mini",
        purpose,
        instructions: "You work for the desk. Do the task that it gives you and no other; look up what you do not \
            know with the tool; then answer in three sentences at the most. The desk sees nothing but your answer.",
    }
}

/// The tool of the clerk and the workers.
pub(crate) const LOOKUP: &str = "lookup";
pub(crate) const LOOKUP_PURPOSE: &str = "Looks a subject up in the archive and returns what is known about it.";

/// The description of a worker's argument, as Brigade writes it.
pub(crate) const TASK_PURPOSE: &str =
    "What to do, with everything the worker needs to know: it sees nothing else of this conversation.";

pub(crate) const TOPIC_PURPOSE: &str = "The subject, in a few words.";

/// The words of an answer that is streamed to measure the cost of each.
pub(crate) const STREAMED_WORDS: u32 = 20_000;

/// The words of an answer of more than 10 MB; of half a megabyte in the debug build, which is twenty times as slow.
pub(crate) const LONG_WORDS: u32 = if cfg!(debug_assertions) { 60_000 } else { 1_200_000 };

/// How often the clerk calls its tool.
const TOOL_TURNS: usize = 10;

/// A tool result of about 250 tokens.
const RECORD: &str = "The archive holds four entries on this subject. The first, of March, puts the figure at 41.7 \
    per cent and gives no method; it is quoted by the two that follow, which add nothing of their own. The fourth, of \
    September, measured it anew on 2,400 cases and found 38.2 per cent with an error of 1.1 either way; it names the \
    instrument, the place and the people. It also says why the earlier figure was too high: cases that had been \
    counted twice, and a week in which the instrument was not calibrated. A note in the margin, in another hand, \
    doubts the correction for the double cases and proposes 38.9 instead, without showing how. No later entry takes \
    this up. Related subjects in the archive: calibration of instruments, double counting, the survey of the year \
    before, and the correspondence about the note, with only the answers kept.";

impl Workload {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::ToolLoop, Self::Supervisor];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat-1",
            Self::ToolLoop => "tool-loop",
            Self::Supervisor => "supervisor-4",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Chat => "one agent, one call",
            Self::ToolLoop => "one agent, ten tool turns, growing history: 11 calls",
            Self::Supervisor => "a supervisor and four workers at once, a tool call each: 10 calls",
        }
    }

    pub(crate) const fn calls_per_run(self) -> u64 {
        match self {
            Self::Chat => 1,
            Self::ToolLoop => 11,
            Self::Supervisor => 10,
        }
    }

    pub(crate) const fn task(self) -> &'static str {
        match self {
            Self::Chat => "Why did the figure for the autumn differ from the one for the spring?",
            Self::ToolLoop => "Check the ten subjects of the spring survey and summarise what holds.",
            Self::Supervisor => "Should the survey be published as it stands?",
        }
    }
}

/// The tool's result.
pub(crate) fn look_up(topic: &str) -> String {
    format!("{topic}: {RECORD}")
}

/// The simulator's answers in all workloads. It recognizes agents by their instructions.
pub(crate) fn script() -> Script {
    let looks_up =
        |topic: &str| ScriptedAnswer::calls([ScriptedToolCall::new(LOOKUP, format_args!(r#"{{"topic":"{topic}"}}"#))]);
    let turn = |agent: &str, turn: usize| RequestMatcher::default().agent(agent).turn(turn);
    let delegate = |worker: &AgentSpec| {
        let task = r#"{"task":"Look at the survey of the spring from your side, and say whether its main figure, 41.7 per cent, may stand. The desk publishes on Friday."}"#;
        ScriptedToolCall::new(worker.name, task)
    };
    let mut script = Script::default()
        .agent(AgentMatcher::by_system("oracle", "You are oracle"))
        .agent(AgentMatcher::by_system("clerk", "You are clerk"))
        .agent(AgentMatcher::by_system("desk", "You are desk"))
        .agent(AgentMatcher::by_system("scribe", "You are scribe"))
        .agent(AgentMatcher::by_system("novelist", "You are novelist"))
        .agent(AgentMatcher::by_system("worker", "You work for the desk"));
    for number in 0..TOOL_TURNS {
        script = script.rule(turn("clerk", number), looks_up("subject {{turn}} of the spring survey"));
    }
    let writes = |words: u32| ScriptedAnswer::text("whatever ".repeat(words as usize));
    script
        .rule(RequestMatcher::default().agent("scribe"), writes(STREAMED_WORDS))
        .rule(RequestMatcher::default().agent("novelist"), writes(LONG_WORDS))
        .rule(turn("desk", 0), ScriptedAnswer::calls(WORKERS.iter().map(delegate)))
        .rule(turn("worker", 0), looks_up("the main figure of the spring survey"))
        .rule(RequestMatcher::default(), ScriptedAnswer::text(RECORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_of_every_agent_has_an_answer() {
        let script = script();
        assert_eq!(script.rules.len(), TOOL_TURNS + 5);
        assert!(script.rules.iter().all(|rule| rule.answer.text.is_empty() != rule.answer.tool_calls.is_empty()));
    }
}
