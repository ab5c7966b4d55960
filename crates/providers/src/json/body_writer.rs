//! Writes request bodies without building a tree.

use std::collections::BTreeMap;

use brigade_core::RawJson;
use serde::Serialize;

use super::json;

/// Writes the body of a request field by field, straight into its bytes.
#[derive(Debug)]
pub(crate) struct BodyWriter<'a> {
    out: Vec<u8>,
    extra: &'a BTreeMap<String, RawJson>,
}

impl<'a> BodyWriter<'a> {
    /// Begins a body of roughly `size_bytes`. The fields of `extra` replace those written with [`BodyWriter::field`].
    pub(crate) fn new(size_bytes: usize, extra: &'a BTreeMap<String, RawJson>) -> Self {
        let mut out = Vec::with_capacity(size_bytes);
        out.push(b'{');
        Self { out, extra }
    }

    /// Writes a field that `extra` cannot replace.
    pub(crate) fn fixed(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        json::write(&mut self.out, name);
        self.out.push(b':');
        write(&mut self.out);
    }

    /// Writes a field, unless it is absent or `extra` has one of this name.
    pub(crate) fn field(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value
            && !self.extra.contains_key(name)
        {
            self.fixed(name, |out| json::write(out, value));
        }
    }

    /// Writes the fields of `extra`, except for `reserved` ones.
    pub(crate) fn extras(&mut self, reserved: &[&str]) {
        for (name, content) in self.extra {
            if !reserved.contains(&name.as_str()) {
                self.fixed(name, |out| out.extend_from_slice(content.get().as_bytes()));
            }
        }
    }

    /// Returns the whole body.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}
