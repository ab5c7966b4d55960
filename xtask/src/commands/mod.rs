//! Commands other than `ci`.

pub(crate) mod bench;
pub(crate) mod fuzz;
pub(crate) mod hooks;
pub(crate) mod kills;
pub(crate) mod live;
pub(crate) mod mutants;
pub(crate) mod oldest_rust;
pub(crate) mod prices;
pub(crate) mod release;
pub(crate) mod swarm;
