//! What texts mean: directions, and rankings made one.

use std::collections::HashMap;

/// Where a vector points, ready to be compared: a whole number for each dimension, the largest of them 127 either way.
/// They rank notes as fractions do, and reading is what takes time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Direction {
    bytes: Vec<u8>,
    length: f64,
}

impl Direction {
    /// Where `vector` points; nothing if it has no direction.
    pub(crate) fn of(vector: &[f32]) -> Option<Self> {
        let largest = vector.iter().map(|value| value.abs()).max_by(f32::total_cmp)?;
        if !largest.is_normal() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127")]
        let byte = |value: &f32| ((value / largest * 127.0).round() as i8).cast_unsigned();
        let bytes: Vec<_> = vector.iter().map(byte).collect();
        let length = product(&bytes, &bytes).sqrt();
        Some(Self { bytes, length })
    }

    /// The direction of a vector that is stored as 32-bit floats, little endian.
    pub(crate) fn of_floats(stored: &[u8]) -> Option<Self> {
        let (values, rest) = stored.as_chunks();
        let vector: Vec<_> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if rest.is_empty() { Self::of(&vector) } else { None }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cosine of the angle to a stored direction; nothing if that has another number of dimensions.
    pub(crate) fn cosine(&self, stored: &[u8]) -> Option<f64> {
        let length = || product(stored, stored).sqrt();
        (stored.len() == self.bytes.len()).then(|| product(&self.bytes, stored) / (self.length * length()))
    }
}

/// The sum of the products of signed bytes at the same places. More than 133,000 of them could overflow.
fn product(one: &[u8], other: &[u8]) -> f64 {
    let number = |byte: &u8| i32::from(byte.cast_signed());
    one.iter().zip(other).map(|(one, other)| number(one) * number(other)).sum::<i32>().into()
}

/// Reciprocal rank fusion: each ranking gives an item one over its rank, so that what several find good comes first,
/// whatever scale each of them measures on.
///
/// Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
/// 2009, who found the constant.
pub(crate) fn fuse(rankings: &[Vec<i64>]) -> Vec<i64> {
    const SMOOTHING: f64 = 60.0;
    let mut scores: HashMap<i64, f64> = HashMap::new();
    for ranking in rankings {
        for (rank, item) in (1_u32..).zip(ranking) {
            *scores.entry(*item).or_default() += 1.0 / (SMOOTHING + f64::from(rank));
        }
    }
    let mut items: Vec<_> = scores.into_iter().collect();
    // Newer ones first among equals.
    items.sort_by(|(one, score), (other, other_score)| other_score.total_cmp(score).then(other.cmp(one)));
    items.into_iter().map(|(item, _)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_rankings_know_comes_before_the_best_of_one() {
        assert_eq!(fuse(&[vec![1, 2, 3], vec![4, 3, 5]]), [3, 4, 1, 2, 5]);
        assert_eq!(fuse(&[vec![7, 8], vec![]]), [7, 8]);
    }

    #[test]
    fn bytes_tell_the_cosine_of_floats_to_a_thousandth() {
        let wave = |shift: f32| (0_u8..=255).map(|place| (f32::from(place) + shift).sin()).collect::<Vec<_>>();
        let (one, other) = (wave(0.0), wave(0.7));
        let stored: Vec<u8> = other.iter().flat_map(|value| value.to_le_bytes()).collect();
        let exact = {
            let product =
                |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f32>();
            f64::from(product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt())
        };
        let cosine = |stored| Direction::of(&one)?.cosine(Direction::of_floats(stored)?.as_bytes());
        assert!((cosine(&stored).unwrap() - exact).abs() < 1e-3);
        assert_eq!(cosine(&stored[1..]), None, "these are no floats");
    }

    #[test]
    fn the_cosine_goes_by_direction_and_not_by_length() {
        let one = Direction::of(&[3.0, 4.0]).unwrap();
        let same = Direction::of(&[30.0, 40.0]).unwrap();
        let across = Direction::of(&[-4.0, 3.0]).unwrap();
        assert!((one.cosine(same.as_bytes()).unwrap() - 1.0).abs() < 1e-9);
        assert!(one.cosine(across.as_bytes()).unwrap().abs() < 1e-9);
        assert_eq!(one.cosine(&[0; 3]), None, "another model's vector");
        for nowhere in [&[][..], &[0.0, 0.0], &[1.0, f32::NAN], &[1.0, f32::INFINITY]] {
            assert_eq!(Direction::of(nowhere), None);
        }
    }
}
