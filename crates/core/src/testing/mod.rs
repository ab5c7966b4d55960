//! Fakes and contract checks for tests of agents, wrappers and providers. Enabled by the feature `testing`.

mod contract;
mod events;
#[cfg(test)]
pub(crate) mod fixtures;
mod recorder;
mod scripted;
mod skip;

pub use contract::model_contract;
pub use events::all_events;
pub use recorder::Recorder;
pub use scripted::{ScriptedModel, Turn};
pub use skip::skip_test;
