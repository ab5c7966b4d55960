//! Faults that replace the response: errors, pages, other bodies, headers.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::request::Request;
use crate::fault::action::FaultAction;
use crate::protocol::failure::Failure;

/// The status and body that replace the model's reply, if the action sets any.
pub(crate) fn replacement(action: &FaultAction, request: &Request, id: &str) -> Option<(u16, Vec<u8>)> {
    let failure = match (&action.error, action.status) {
        (Some(name), status) => {
            let failure = Failure::named(request.dialect, name, &request.model);
            Some(Failure { status: status.unwrap_or(failure.status), ..failure })
        }
        (None, Some(status @ 400..)) => Some(Failure::with_status(request.dialect, status, &request.model)),
        (None, _) => None,
    };
    let status = failure.as_ref().map(|failure| failure.status).or(action.status);
    let body = match (&action.body, action.html_bytes) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(bytes)) => Some(html(bytes, status.unwrap_or(502))),
        (None, None) if status.is_some_and(|status| (300..400).contains(&status)) => Some(Vec::new()),
        (None, None) => failure.map(|failure| failure.body(request.dialect, id)),
    };
    body.map(|body| (status.unwrap_or(200), body))
}

/// Sets the headers of the action. Invalid ones are skipped.
pub(crate) fn headers(action: &FaultAction, map: &mut HeaderMap) {
    if action.html_bytes.is_some() {
        map.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    }
    if action.gzip {
        map.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(length) = action.content_length {
        map.insert(CONTENT_LENGTH, length.into());
    }
    let parsed: Vec<(HeaderName, HeaderValue)> =
        action.headers.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect();
    for (name, _) in &parsed {
        map.remove(name);
    }
    for (name, value) in parsed {
        map.append(name, value);
    }
    for _ in 0..action.more_headers.unwrap_or(0) {
        map.append(HeaderName::from_static("x-gateway-trace"), HeaderValue::from_static("1"));
    }
}

/// A gzip stream (RFC 1952) of stored blocks (RFC 1951, 3.2.4).
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let blocks = body.chunks(usize::from(u16::MAX));
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(index == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    if body.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    out.extend(crc32(body).to_le_bytes());
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

/// The checksum of RFC 1952, section 8, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

fn html(bytes: usize, status: u16) -> Vec<u8> {
    let head = format!(
        "<html>\r\n<head><title>{status} Bad Gateway</title></head>\r\n<body>\r\n<center><h1>{status} Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n<!-- "
    );
    let tail = " -->\r\n</body>\r\n</html>\r\n";
    let filler = bytes.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", "a padding to disable MSIE and Chrome friendly error page ".repeat(filler / 57 + 1))
        .into_bytes()
}
