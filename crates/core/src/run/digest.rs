//! Digests that are the same in every process and every version of the program.

use serde_json::Value;
use uuid::{Builder, Variant, Version};

use crate::RunId;

/// The digest of texts, by FNV-1a with 128 bits. It finds mistakes and does not resist attacks.
fn fnv<'a>(texts: impl IntoIterator<Item = &'a str>) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    // No UTF-8 text contains this byte, so it separates texts.
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// The digest of texts.
pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let hash = fnv(texts);
    u64::try_from((hash ^ (hash >> 64)) & u128::from(u64::MAX)).unwrap_or_default()
}

/// The digest of a tool call: the tool, and the arguments with their fields in alphabetical order.
pub(crate) fn of_call(tool: &str, arguments: &str) -> u64 {
    let canonical = serde_json::from_str(arguments).map(|mut value: Value| {
        value.sort_all_objects();
        value.to_string()
    });
    of([tool, canonical.as_deref().unwrap_or(arguments)])
}

/// The id of the child run at `path` below `run`. It begins with the same time as the id of `run`.
pub(super) fn run_id(run: RunId, path: &str) -> RunId {
    const TIME: usize = 6;
    let hash = fnv([run.to_string().as_str(), path]).to_be_bytes();
    let mut bytes = *run.uuid().as_bytes();
    for (byte, hashed) in bytes.iter_mut().zip(hash).skip(TIME) {
        *byte = hashed;
    }
    let id = Builder::from_bytes(bytes).with_version(Version::SortRand).with_variant(Variant::RFC4122);
    id.into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_same_in_every_version() {
        assert_eq!(of(["a", "b"]), 15_092_912_172_486_590_101);
        assert_ne!(of(["ab"]), of(["a", "b"]));
        assert_eq!(of_call("pay", r#"{"a":1,"b":{"d":2,"c":3}}"#), of_call("pay", r#"{ "b": {"c":3,"d":2}, "a": 1 }"#));
    }

    #[test]
    fn the_id_of_a_child_run_derives_from_the_run_and_the_path() {
        let run = RunId::new();
        assert_eq!(run_id(run, "2/tool:1/critic/"), run_id(run, "2/tool:1/critic/"));
        assert_ne!(run_id(run, "2/tool:1/critic/"), run_id(run, "2/tool:2/critic/"));
        assert_eq!(run_id(run, "x").uuid().get_version_num(), 7);
    }
}
