//! A hash that is the same on every machine and in every release, because providers cache prompts that contain it.

/// FNV-1a, 64 bits.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of `bytes` as `length` letters and digits.
pub(crate) fn alphanumeric(bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = digest(bytes);
    let digits = (0..length).map(|_| {
        let digit = ALPHABET.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
        char::from(digit)
    });
    digits.collect()
}
