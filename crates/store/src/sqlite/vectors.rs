//! Embedding vectors, and the fusion of rankings.

use std::collections::HashMap;

/// The direction of a vector, quantized to a signed byte per dimension and scaled so that the largest is 127. It ranks
/// notes as the exact vector does, and is faster to read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuantizedVector {
    bytes: Vec<u8>,
    length: f64,
}

impl QuantizedVector {
    /// Quantizes a vector; `None` if it has no direction.
    pub(crate) fn new(vector: &[f32]) -> Option<Self> {
        let largest = vector.iter().map(|value| value.abs()).max_by(f32::total_cmp)?;
        if !largest.is_normal() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127")]
        let byte = |value: &f32| ((value / largest * 127.0).round() as i8).cast_unsigned();
        let bytes: Vec<_> = vector.iter().map(byte).collect();
        let length = dot_product(&bytes, &bytes).sqrt();
        Some(Self { bytes, length })
    }

    /// Quantizes a vector that is stored as 32-bit floats, little endian.
    pub(crate) fn from_floats(stored: &[u8]) -> Option<Self> {
        let (values, rest) = stored.as_chunks();
        let vector: Vec<_> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if rest.is_empty() { Self::new(&vector) } else { None }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cosine of the angle to a stored vector; `None` if the number of dimensions differs.
    pub(crate) fn cosine(&self, stored: &[u8]) -> Option<f64> {
        let length = || dot_product(stored, stored).sqrt();
        (stored.len() == self.bytes.len()).then(|| dot_product(&self.bytes, stored) / (self.length * length()))
    }
}

/// The dot product of signed bytes. It could overflow with more than 133,000 dimensions.
fn dot_product(one: &[u8], other: &[u8]) -> f64 {
    let number = |byte: &u8| i32::from(byte.cast_signed());
    one.iter().zip(other).map(|(one, other)| number(one) * number(other)).sum::<i32>().into()
}

/// Reciprocal rank fusion: the score of an item is the sum of one over its rank in each ranking. So items that are high in
/// several rankings come first, whatever the scale of their scores.
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
    // Newer items first among equals.
    items.sort_by(|(one, score), (other, other_score)| other_score.total_cmp(score).then(other.cmp(one)));
    items.into_iter().map(|(item, _)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_in_both_rankings_comes_before_the_first_of_one() {
        assert_eq!(fuse(&[vec![1, 2, 3], vec![4, 3, 5]]), [3, 4, 1, 2, 5]);
        assert_eq!(fuse(&[vec![7, 8], vec![]]), [7, 8]);
    }

    #[test]
    fn the_cosine_of_quantized_vectors_is_exact_to_a_thousandth() {
        let wave = |shift: f32| (0_u8..=255).map(|place| (f32::from(place) + shift).sin()).collect::<Vec<_>>();
        let (one, other) = (wave(0.0), wave(0.7));
        let stored: Vec<u8> = other.iter().flat_map(|value| value.to_le_bytes()).collect();
        let exact = {
            let product =
                |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f32>();
            f64::from(product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt())
        };
        let cosine = |stored| QuantizedVector::new(&one)?.cosine(QuantizedVector::from_floats(stored)?.as_bytes());
        assert!((cosine(&stored).unwrap() - exact).abs() < 1e-3);
        assert_eq!(cosine(&stored[1..]), None, "not a vector of floats");
    }

    #[test]
    fn the_cosine_depends_on_direction_not_on_length() {
        let one = QuantizedVector::new(&[3.0, 4.0]).unwrap();
        let same = QuantizedVector::new(&[30.0, 40.0]).unwrap();
        let across = QuantizedVector::new(&[-4.0, 3.0]).unwrap();
        assert!((one.cosine(same.as_bytes()).unwrap() - 1.0).abs() < 1e-9);
        assert!(one.cosine(across.as_bytes()).unwrap().abs() < 1e-9);
        assert_eq!(one.cosine(&[0; 3]), None, "another model's vector");
        for nowhere in [&[][..], &[0.0, 0.0], &[1.0, f32::NAN], &[1.0, f32::INFINITY]] {
            assert_eq!(QuantizedVector::new(nowhere), None);
        }
    }
}
