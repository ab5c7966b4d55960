//! The ways in which providers, models and tools fail, and the judge of what must hold all the same.
//!
//! A [`Scenario`] is data: what the model says, what goes wrong, who is asked, and what must come of it. [`play`]
//! performs it in one dialect: the agents, the standard stack of guards and the real HTTP clients against a simulated
//! provider over loopback, in virtual time ([`clock`]), so that a stall of ten minutes takes no time. The [`judge`] looks
//! at both ends of the wire and holds every scenario to the same ten invariants, and to what it expects besides.
//!
//! [`table`] has the scenarios. [`swarm`] draws faults at random and holds the invariants against them.

pub mod clock;
mod judge;
mod play;
mod report;
mod scenario;
mod seen;
mod stage;
pub mod swarm;
pub mod table;
pub mod tools;

pub use judge::{Breach, judge, judge_invariants};
pub use play::play;
pub use report::{Report, Row};
pub use scenario::{ALL, ANSWER, Act, Bill, Check, Ends, Expected, LOOKS_UP, Nowhere, SAYS, Scenario, Team};
pub use seen::{Control, Ended, Entry, Seen};
pub use stage::{API_KEY, CANARY, FLAT_MODEL, Stage, main_model, spare_model};
