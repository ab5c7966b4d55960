//! Faults, as data.
//!
//! A fault selects calls, a place in their answer and an action. An action can change four layers, from the inside out: the
//! reply of the model ([`kinds::ReplyFault`]), the events that carry it ([`kinds::ToolDeltas`], [`kinds::UsageFault`],
//! [`kinds::TerminalMarkers`]), the bytes of the events ([`kinds::Framing`]), and the connection (silence, resets, slow
//! bytes). `injection` has one file per layer.

pub(crate) mod action;
pub(crate) mod kinds;
pub(crate) mod plan;
