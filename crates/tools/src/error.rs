//! Errors of tool builders and of calls.

use brigade_core::ToolError;

use crate::EgressDenied;

/// A failure whose message quotes neither arguments nor output, so that operators may read it, too.
pub(crate) fn failed(message: impl Into<String>) -> ToolError {
    let message = message.into();
    ToolError::new(message.clone()).caused_by(message)
}

/// A tool that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildToolError {
    /// The address is not an absolute `http` or `https` URL.
    #[error("`{0}` is not an absolute URL; write one such as \"https://example.com/users/{{id}}\"")]
    Address(String),
    /// The address has a placeholder before its path, so the model would choose the host.
    #[error("the address `{0}` has a placeholder in its host; only the path and the query may have placeholders")]
    HostPlaceholder(String),
    /// The guard does not allow the address.
    #[error(transparent)]
    Egress(#[from] EgressDenied),
    /// A placeholder has no argument of its name in the tool's schema, so no model would ever fill it.
    #[error(
        "the placeholder `{{{0}}}` is not an argument of the tool; add `{0}` to the `properties` of its input schema"
    )]
    Placeholder(String),
    /// A header has an invalid name, or a value that HTTP cannot carry. The value is not shown, as it may be a secret.
    #[error("the header `{0}` has an invalid name or value; use visible ASCII characters")]
    Header(String),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The list of program and arguments is empty.
    #[error("the command is empty; its first element must be the program")]
    NoProgram,
    /// The program's name has a placeholder, so the model would choose the program.
    #[error("the program `{0}` has a placeholder; only its arguments may have placeholders")]
    ProgramPlaceholder(String),
    /// The secret of a webhook is not one. It is not shown.
    #[error(
        "the secret of the webhook is not valid; write `whsec_` and 24 to 64 random bytes in base64, as this makes them: \
         `echo \"whsec_$(openssl rand -base64 32)\"`"
    )]
    WebhookSecret,
}
