//! Images in messages.

use brigade_core::{Image, Part};

use super::field_error::FieldError;

/// The image at this URL, or in it.
pub(crate) fn image(url: String, param: &str) -> Result<Part, FieldError> {
    let Some(inline) = url.strip_prefix("data:") else {
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(Part::Image(Image::Url(url)));
        }
        return Err(FieldError::invalid(param, "the URL of an image must start with `https://`, `http://` or `data:`"));
    };
    let (media_type, data) = inline
        .split_once(";base64,")
        .ok_or_else(|| FieldError::invalid(param, "an inline image must be written as `data:image/png;base64,…`"))?;
    Ok(Part::Image(Image::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }))
}
