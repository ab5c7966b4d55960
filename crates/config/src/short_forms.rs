//! Short forms of values, which are expanded before the configuration is read.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Writes each worker that is only a name, as in `workers = ["critic"]`, as a table with the key `agent`.
pub(super) fn expand(config: &mut DeTable<'_>) {
    let Some(DeValue::Table(agents)) = config.get_mut("agents").map(Spanned::get_mut) else { return };
    for (_, agent) in agents.iter_mut() {
        let DeValue::Table(agent) = agent.get_mut() else { continue };
        let Some(DeValue::Array(workers)) = agent.get_mut("workers").map(Spanned::get_mut) else { continue };
        for worker in workers.iter_mut() {
            let span = worker.span();
            if let DeValue::String(_) = worker.get_ref() {
                let name = std::mem::replace(worker, Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
                if let DeValue::Table(table) = worker.get_mut() {
                    table.insert(Spanned::new(span, "agent".into()), name);
                }
            }
        }
    }
}
