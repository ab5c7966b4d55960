//! The limits of one server.

use std::time::Duration;

/// The limits of one server. Each is named in the error of a call that meets it.
///
/// ```
/// use std::time::Duration;
///
/// let limits = brigade_mcp::McpLimits::default().call(Duration::from_secs(20));
/// assert_eq!(limits.start, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpLimits {
    /// The time until a server that is started has listed its tools, both together. 10 s by default: packages that are
    /// fetched at the start take longer, and belong into an installation.
    pub start: Duration,
    /// The time of a call without a sign of life. 60 s by default, like the official clients. A progress notification starts
    /// it again.
    pub call: Duration,
    /// The whole time of a call, also with progress. 10 minutes by default; never less than `call`.
    pub longest_call: Duration,
    /// The time without calls after which a server is stopped. 10 minutes by default: longer than a person thinks between two
    /// questions.
    pub idle: Duration,
    /// The number of bytes of a result that are kept. 64 KiB by default: more would fill the context of most models.
    pub output_bytes: usize,
    /// The number of bytes of one message of a server. 8 MiB by default: above the largest useful result with images. A
    /// server that sends more is ended.
    pub message_bytes: usize,
    /// The number of tools that a server may list. 1,000 by default: no person reads more before pinning them.
    pub tools: usize,
}

macro_rules! setters {
    ($($name:ident: $kind:ty),*) => {
        impl McpLimits {$(
            #[doc = concat!("Sets `", stringify!($name), "`.")]
            #[must_use]
            pub fn $name(self, $name: $kind) -> Self {
                Self { $name, ..self }
            }
        )*}
    };
}

setters!(
    start: Duration,
    call: Duration,
    longest_call: Duration,
    idle: Duration,
    output_bytes: usize,
    message_bytes: usize,
    tools: usize
);

impl Default for McpLimits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            call: Duration::from_mins(1),
            longest_call: Duration::from_mins(10),
            idle: Duration::from_mins(10),
            output_bytes: 64 << 10,
            message_bytes: 8 << 20,
            tools: 1_000,
        }
    }
}
