//! Warns of sections that nothing uses, which are often misspelled or forgotten.

use std::collections::BTreeSet;

use super::{Config, KeyConfig, Lint, ToolConfig, ToolKind};

/// Finds tools, models, accounts and agents that no other section refers to.
pub(super) fn lint_unused(config: &Config) -> Vec<Lint> {
    let agents = || config.agents.values();
    let models = || config.models.values();
    let tools: BTreeSet<&str> = agents().flat_map(|agent| &agent.tools).map(|name| name.as_ref().as_str()).collect();
    let asked = agents().map(|agent| &agent.model).chain(models().flat_map(|model| &model.fallbacks));
    let asked: BTreeSet<&str> = asked.map(|name| name.as_ref().as_str()).collect();
    let embedding = config.recall.embedding.iter().map(|embedding| &embedding.provider);
    let accounts = models().map(|model| &model.provider).chain(embedding);
    let accounts: BTreeSet<&str> = accounts.map(|name| name.as_ref().as_str()).collect();
    let workers = agents().flat_map(|agent| &agent.workers);
    let workers: BTreeSet<&str> = workers.map(|worker| worker.agent.as_ref().as_str()).collect();

    let unused_tools = config.tools.keys().filter(|name| !tools.contains(name.as_str()));
    let unused_models = config.models.keys().filter(|name| !asked.contains(name.as_str()));
    let unused_accounts = config.providers.keys().filter(|name| !accounts.contains(name.as_str()));
    let hidden = config.agents.iter().filter(|(name, agent)| !agent.exposed && !workers.contains(name.as_str()));
    let mut lints: Vec<Lint> = unused_tools
        .map(|name| Lint::new(&format!("tools.{name}"), "is not a tool of any agent: add it to the `tools` of one"))
        .collect();
    lints.extend(
        unused_models.map(|name| Lint::new(&format!("models.{name}"), "is not the model or a fallback of anything")),
    );
    lints.extend(
        unused_accounts.map(|name| Lint::new(&format!("providers.{name}"), "has no model: its key is not read")),
    );
    let used: BTreeSet<&str> = tools.iter().filter_map(|name| Some(config.mcp_tool(name)?.0)).collect();
    let unused_servers = config.mcp.keys().filter(|name| !used.contains(name.as_str()));
    lints.extend(unused_servers.map(|name| {
        let advice = format!("has no tool that an agent uses: add `{name}__TOOL` to the `tools` of one");
        Lint::new(&format!("mcp.{name}"), advice)
    }));
    lints.extend(hidden.map(|(name, _)| {
        let advice = "is neither exposed nor a worker: no client and no agent can call it";
        Lint::new(&format!("agents.{name}"), advice)
    }));
    lints.extend(config.tools.iter().filter_map(|(name, tool)| unsent_arguments(name, tool)));
    lints.extend(config.tools.iter().filter_map(|(name, tool)| literal_placeholder(name, tool)));
    lints.extend(config.keys.iter().filter_map(|(name, key)| idle_key(name, key)));
    if !config.agents.is_empty() && !config.agents.values().any(|agent| agent.exposed) {
        lints.push(Lint::new("agents", "has no exposed agent: no client can call one"));
    }
    lints
}

/// Warns of a key that may do nothing, and of a setting without an effect.
fn idle_key(name: &str, key: &KeyConfig) -> Option<Lint> {
    let advice = if key.scopes.is_empty() {
        "has no scopes, so it may do nothing: give it \"run\" or \"read\""
    } else if key.burst.is_some() && key.requests_per_minute.is_none() {
        "has a `burst` without `requests_per_minute`, which has no effect"
    } else {
        return None;
    };
    Some(Lint::new(&format!("keys.{name}"), advice))
}

/// Warns of a header that looks as if an argument would fill it.
fn literal_placeholder(name: &str, tool: &ToolConfig) -> Option<Lint> {
    let Some(ToolKind::Http(http)) = tool.kind() else { return None };
    let arguments = tool.input.get("properties")?.as_object()?;
    let is_filled = |value: &String| arguments.keys().any(|argument| value.contains(&format!("{{{argument}}}")));
    let (header, _) = http.headers.iter().find(|(_, value)| is_filled(value))?;
    let advice = format!("sends the header `{header}` as it is written: only the `url` has placeholders");
    Some(Lint::new(&format!("tools.{name}"), advice))
}

/// Warns of arguments that a GET request has no place for.
fn unsent_arguments(name: &str, tool: &ToolConfig) -> Option<Lint> {
    let Some(ToolKind::Http(http)) = tool.kind() else { return None };
    let properties = tool.input.get("properties")?.as_object()?;
    let unsent = |argument: &&String| !http.url.contains(&format!("{{{argument}}}"));
    let unsent: Vec<_> = properties.keys().filter(unsent).map(|argument| format!("`{argument}`")).collect();
    let advice = format!(
        "does not send {}: a GET request has no body, so write it into the `url` as a placeholder",
        unsent.join(", ")
    );
    (!unsent.is_empty() && http.method == super::HttpMethod::Get).then(|| Lint::new(&format!("tools.{name}"), advice))
}
