//! Why a request is refused.

use std::time::Duration;

/// Why a request is refused. It is exhaustive, so that a service answers each case with a status of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The path and the headers are too large: status 431.
    #[error("the head of the request has {bytes} bytes, the limit is {limit}; send fewer headers")]
    HeadTooLarge {
        /// The size of the head.
        bytes: usize,
        /// The maximum size.
        limit: usize,
    },
    /// The body is too large: status 413.
    #[error("the body is larger than {limit} bytes; send a shorter one")]
    BodyTooLarge {
        /// The maximum size in bytes.
        limit: usize,
    },
    /// The client sends the body too slowly: status 408.
    #[error("{bytes} bytes of the body came in {} s, which is too slow; retry", elapsed.as_secs())]
    BodyTooSlow {
        /// The number of bytes that have arrived.
        bytes: usize,
        /// The time since the service began to read the body.
        elapsed: Duration,
    },
    /// The connection ended within the body: status 400, though the client will hardly read it.
    #[error("the connection ended before the whole body was received")]
    BodyIncomplete,
}
