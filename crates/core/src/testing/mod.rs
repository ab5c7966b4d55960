//! Fakes and contract checks for the tests of agents, wrappers and providers. Feature `testing`.

mod contract;
mod events;
mod recorder;
mod scripted;
mod skip;

pub use contract::model_contract;
pub use events::all_events;
pub use recorder::Recorder;
pub use scripted::{ScriptedModel, Turn};
pub use skip::skip_test;
