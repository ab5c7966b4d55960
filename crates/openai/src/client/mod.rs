//! What a run shows its client, and the tools of the client.

pub(crate) mod client_calls;
pub(crate) mod shown_text;
