//! Memory: sessions across requests, and what is known about a task.

pub(crate) mod memory;
pub(crate) mod recent;
pub(crate) mod task_notes;
