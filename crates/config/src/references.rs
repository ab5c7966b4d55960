//! Checks references between sections.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use brigade_edge::{Origin, suggestion};

use super::{
    ApprovalsConfig, Config, KeyScope, NAME_RULE, Name, Problem, ProviderConfig, ProviderKind, ToolConfig, ToolKind,
    is_plain_name, key_name_problem, mcp,
};

/// Finds references to names that do not exist, cycles of agents, and values that exclude each other.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, provider) in &config.providers {
        problems.extend(kind_problem(name, provider.kind.as_ref()));
        problems.extend(simulator_problem(name, provider));
    }
    for (name, model) in &config.models {
        problems.extend(chain_problem(name, &model.fallbacks));
        problems.extend(missing("provider", &model.provider, &config.providers));
        problems.extend(model.fallbacks.iter().filter_map(|name| missing("model", name, &config.models)));
        if let (Some(_), Some(_)) = (model.thinking, model.effort) {
            problems.push(Problem::at(
                model.provider.span(),
                "`thinking` and `effort` exclude each other; remove one of them",
            ));
        }
    }
    let embedding = config.recall.embedding.as_ref();
    problems.extend(embedding.and_then(|embedding| missing("provider", &embedding.provider, &config.providers)));
    for (name, agent) in &config.agents {
        problems.extend(name_problem(name));
        if agent.recall.is_some() && config.store.is_none() {
            let message = "has `recall`, which needs a store; add `store = \"brigade.db\"`";
            problems.push(Problem::without_location(format!("the agent `{name}` {message}")));
        }
        problems.extend(missing("model", &agent.model, &config.models));
        problems.extend(agent.workers.iter().filter_map(|worker| missing("agent", &worker.agent, &config.agents)));
        let is_mcp = |tool: &&Name| config.mcp_tool(tool.as_ref()).is_some();
        let (of_servers, own): (Vec<_>, Vec<_>) = agent.tools.iter().partition(is_mcp);
        problems.extend(own.into_iter().filter_map(|tool| missing("tool", tool, &config.tools)));
        problems.extend(of_servers.into_iter().filter_map(|tool| mcp::tool_problem(config, tool)));
        problems.extend(cycle(config, name));
    }
    problems.extend(wall_problems(config));
    problems.extend(mcp::problems(config));
    problems.extend(empty_problems(config));
    problems.extend(config.tools.iter().filter_map(|(name, tool)| command_problem(name, tool)));
    if config.keys.is_empty() && config.server.cors_origins.iter().any(Origin::is_any) {
        problems.push(Problem::without_location(ANY_ORIGIN_WITHOUT_KEYS.to_owned()));
    }
    problems.extend(config.keys.keys().filter_map(|name| key_name_problem(name)).map(Problem::without_location));
    problems.extend(same_key(config));
    if config.approvals.four_eyes && config.keys.is_empty() {
        let message = "`approvals.four_eyes` needs keys: without them all requests have the same caller";
        problems.push(Problem::without_location(message));
    }
    problems.extend(webhook_problem(&config.approvals).map(Problem::without_location));
    for (name, key) in &config.keys {
        problems.extend(key.approves.iter().filter_map(|other| missing("key", other, &config.keys)));
        if !key.approves.is_empty() && !key.scopes.contains(&KeyScope::Approve) {
            let message = "has `approves`, which needs the scope \"approve\"; add it to its `scopes`";
            problems.push(Problem::without_location(format!("the key `{name}` {message}")));
        }
    }
    problems
}

/// Finds a webhook that could not send, or whose messages could be forged or read on the way.
fn webhook_problem(approvals: &ApprovalsConfig) -> Option<&'static str> {
    match (&approvals.webhook, &approvals.webhook_secret) {
        (Some(_), None) => Some(
            "`approvals.webhook` needs `approvals.webhook_secret`, with which its receiver knows the messages; write \
             `webhook_secret = { env = \"BRIGADE_WEBHOOK_SECRET\" }`",
        ),
        (None, Some(_)) => Some("`approvals.webhook_secret` needs `approvals.webhook`, the address of the receiver"),
        (Some(url), Some(_)) if !url.starts_with("https://") && !approvals.webhook_allow_private => {
            Some("`approvals.webhook` sends without encryption; write an address with `https://`")
        }
        _ => None,
    }
}

/// Finds names that no provider and no log can use, and one address for two listeners.
fn empty_problems(config: &Config) -> Vec<Problem> {
    let unnamed = config.models.iter().filter(|(_, model)| model.model.trim().is_empty());
    let unnamed =
        unnamed.map(|(name, _)| format!("`models.{name}.model` is empty; write the model's name at the provider"));
    let is_odd = |name: &&String| name.is_empty() || name.contains(|char: char| char == '/' || char.is_control());
    let odd = config.providers.keys().filter(is_odd);
    let odd = odd.map(|name| format!("{name:?} is not a valid name of a provider; use {NAME_RULE}"));
    let server = &config.server;
    let is_same = server.metrics_listen == Some(server.listen) && server.listen.port() != 0;
    let same = is_same
        .then(|| format!("`server.metrics_listen` is {}, like `server.listen`; use another port", server.listen));
    unnamed.chain(odd).chain(same).map(Problem::without_location).collect()
}

/// Finds a command that no system can start.
fn command_problem(name: &str, tool: &ToolConfig) -> Option<Problem> {
    let Some(ToolKind::Command(command)) = tool.kind() else { return None };
    let is_invalid = |variable: &String| variable.is_empty() || variable.contains(['=', '\0']);
    let message = if command.argv.first().is_some_and(|program| program.trim().is_empty()) {
        "its program is empty; the first element of `argv` must be one".to_owned()
    } else if command.argv.iter().any(|argument| argument.contains('\0')) {
        "an element of `argv` has a zero byte, which no program can be given; remove it".to_owned()
    } else {
        let variable = command.environment.keys().find(|variable| is_invalid(variable))?;
        format!("{variable:?} cannot be the name of an environment variable; write one without `=`")
    };
    Some(Problem::without_location(format!("the tool `{name}`: {message}")))
}

/// Finds limits of time where there is no run that they could limit.
fn wall_problems(config: &Config) -> Vec<Problem> {
    let keys = config.keys.iter().map(|(name, key)| (format!("keys.{name}.budget"), &key.budget));
    let shared = iter::once(("budget".to_owned(), &config.budget)).chain(keys);
    let timed = shared.filter(|(_, budget)| budget.wall.is_some());
    let message = |(path, _): (String, _)| {
        format!(
            "`{path}.wall` has no effect, because only one run can have a time limit; set it in the agents' budgets"
        )
    };
    timed.map(message).map(Problem::without_location).collect()
}

/// Finds two names for one key. The server could not know which name a request belongs to.
fn same_key(config: &Config) -> Option<Problem> {
    let mut names = BTreeMap::new();
    let same = config.keys.iter().find_map(|(name, key)| Some((names.insert(key.hash.to_string(), name)?, name)));
    let problem = |(first, second): (&String, &String)| {
        format!("`keys.{first}` and `keys.{second}` have the same hash; create a key for each with `brigade keys new`")
    };
    same.map(problem).map(Problem::without_location)
}

/// Without keys, every page that a person on this machine visits could start runs.
pub const ANY_ORIGIN_WITHOUT_KEYS: &str = "`server.cors_origins` allows all web pages, which needs keys; name the pages' origins, or add a key with `brigade keys new`";

fn kind_problem(account: &str, kind: Option<&Name>) -> Option<Problem> {
    let written = kind.map_or(account, |kind| kind.as_ref());
    let problem = written.parse::<ProviderKind>().err()?;
    Some(match kind {
        Some(kind) => Problem::at(kind.span(), problem + &suggestion(written, ProviderKind::names())),
        None => Problem::without_location(format!(
            "the provider `{account}` needs a `kind`, because its name is not the name of one{}",
            suggestion(account, ProviderKind::names())
        )),
    })
}

/// Finds a model that would be asked twice.
fn chain_problem(model: &str, fallbacks: &[Name]) -> Option<Problem> {
    fallbacks.iter().enumerate().find_map(|(position, fallback)| {
        let name = fallback.as_ref().as_str();
        let message = if name == model {
            format!("`{model}` is its own fallback; name another model, or remove it")
        } else if fallbacks.iter().take(position).any(|earlier| earlier.as_ref() == name) {
            format!("`{name}` is a fallback of `{model}` twice; remove one of them")
        } else {
            return None;
        };
        Some(Problem::at(fallback.span(), message))
    })
}

fn simulator_problem(account: &str, provider: &ProviderConfig) -> Option<Problem> {
    let kind = provider.kind.as_ref().map_or(account, |kind| kind.as_ref());
    let message = "the built-in simulator has no `base_url`; for a server of your own use the kind \"compatible\"";
    (kind == "simulator" && provider.base_url.is_some()).then(|| match &provider.kind {
        Some(kind) => Problem::at(kind.span(), message),
        None => Problem::without_location(format!("the provider `{account}`: {message}")),
    })
}

/// Agents are named in paths, metric labels and log lines. The stricter rule for workers, whose names become names of
/// tools, is checked by their supervisor.
fn name_problem(agent: &str) -> Option<Problem> {
    let message = format!("`{agent}` is not a valid name of an agent; use {NAME_RULE}");
    (!is_plain_name(agent)).then(|| Problem::without_location(message))
}

fn missing<T>(what: &str, name: &Name, known: &BTreeMap<String, T>) -> Option<Problem> {
    let written = name.as_ref();
    (!known.contains_key(written)).then(|| {
        let hint = suggestion(written, known.keys().map(String::as_str));
        Problem::at(name.span(), format!("there is no {what} `{written}`{hint}"))
    })
}

/// Finds a worker through which an agent delegates to itself.
fn cycle(config: &Config, start: &str) -> Option<Problem> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(name) = open.pop() {
        for worker in config.agents.get(name).into_iter().flat_map(|agent| &agent.workers) {
            let next = worker.agent.as_ref().as_str();
            if next == start {
                let through = if name == start { String::new() } else { format!(" through `{name}`") };
                let message = format!("`{start}` is its own worker{through}; name another agent, or remove it");
                return Some(Problem::at(worker.agent.span(), message));
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    None
}
