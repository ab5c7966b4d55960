//! Calls that wait until a person allows them.

pub(crate) mod approved_tool;
pub(crate) mod approver;
pub(crate) mod stored_approvals;
