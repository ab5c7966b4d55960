//! Reads request bodies within limits.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::RequestError;

/// The time that every body may take, whatever its size.
const GRACE: Duration = Duration::from_secs(10);

/// The minimum number of bytes per second after that, far below the slowest mobile connection.
const LEAST_RATE: u32 = 1_024;

/// Reads a body of at most `limit` bytes.
///
/// It may take 10 seconds, and then a second more for each KiB that has arrived. That is far slower than any mobile
/// connection, so only a client that wants to occupy memory is refused. The bytes are copied, because each piece may be a
/// small part of a large buffer.
///
/// # Errors
///
/// Fails if the body is too large, too slow, or ends early.
///
/// ```
/// use axum::body::Body;
/// use brigade_edge::{RequestError, read_body};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(read_body(Body::from("Hello."), 6).await, Ok(b"Hello.".to_vec()));
/// assert_eq!(read_body(Body::from("Hello."), 5).await, Err(RequestError::BodyTooLarge { limit: 5 }));
/// # }
/// ```
pub async fn read_body(body: Body, limit: usize) -> Result<Vec<u8>, RequestError> {
    let too_large = RequestError::BodyTooLarge { limit };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large);
    }
    let began = Instant::now();
    let (mut bytes, mut pieces) = (Vec::new(), body.into_data_stream());
    loop {
        let earned = Duration::from_secs(1) * u32::try_from(bytes.len()).unwrap_or(u32::MAX) / LEAST_RATE;
        let piece = match timeout_at(began + GRACE + earned, pieces.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => return Err(RequestError::BodyIncomplete),
            Err(_) => return Err(RequestError::BodyTooSlow { bytes: bytes.len(), elapsed: began.elapsed() }),
        };
        if bytes.len() + piece.len() > limit {
            return Err(too_large);
        }
        bytes.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    /// A body of these pieces, each after a pause.
    fn body(pieces: usize, size: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(pieces, move |left| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(pause).await;
            // A small part of a large buffer, as a connection hands it out.
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 8 << 10]).slice(..size)), left))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_refused() {
        let began = Instant::now();
        let error = read_body(body(usize::MAX, 1, Duration::from_secs(1)), 1 << 20).await.unwrap_err();
        assert!(matches!(error, RequestError::BodyTooSlow { bytes: 10, .. }), "{error}");
        assert_eq!(began.elapsed().as_secs(), 10);
        let silent = read_body(body(1, 1, Duration::from_hours(1)), 1 << 20).await.unwrap_err();
        assert!(matches!(silent, RequestError::BodyTooSlow { bytes: 0, .. }), "{silent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_body_is_taken() {
        let bytes = read_body(body(100, 2_048, Duration::from_secs(1)), 1 << 20).await.unwrap();
        assert_eq!(bytes.len(), 204_800);
    }

    #[tokio::test]
    async fn a_byte_of_a_body_costs_a_byte() {
        let bytes = read_body(body(5_000, 1, Duration::ZERO), 1 << 20).await.unwrap();
        assert!(bytes.len() == 5_000 && bytes.capacity() <= 10_000, "{}", bytes.capacity());
    }

    #[tokio::test]
    async fn a_body_has_a_maximum_size() {
        let too_large = RequestError::BodyTooLarge { limit: 1_000 };
        assert_eq!(read_body(body(10, 100, Duration::ZERO), 1_000).await.unwrap().len(), 1_000);
        assert_eq!(read_body(body(11, 100, Duration::ZERO), 1_000).await.unwrap_err(), too_large);
        assert_eq!(read_body(Body::from(vec![0; 1_001]), 1_000).await.unwrap_err(), too_large);
    }
}
