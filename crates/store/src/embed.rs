//! What texts mean: directions, and rankings made one.

use std::collections::HashMap;

/// A vector of length one, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Direction(Vec<f32>);

impl Direction {
    /// Where `vector` points; nothing if it has no direction.
    pub(crate) fn of(mut vector: Vec<f32>) -> Option<Self> {
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_normal() {
            return None;
        }
        for value in &mut vector {
            *value /= length;
        }
        Some(Self(vector))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The cosine of the angle to a stored direction; nothing if that has another number of dimensions.
    pub(crate) fn cosine(&self, stored: &[u8]) -> Option<f32> {
        let (values, rest) = stored.as_chunks::<4>();
        let fits = rest.is_empty() && values.len() == self.0.len();
        fits.then(|| self.0.iter().zip(values).map(|(one, other)| one * f32::from_le_bytes(*other)).sum())
    }
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
    fn the_cosine_goes_by_direction_and_not_by_length() {
        let one = Direction::of(vec![3.0, 4.0]).unwrap();
        let same = Direction::of(vec![30.0, 40.0]).unwrap();
        let across = Direction::of(vec![-4.0, 3.0]).unwrap();
        assert!((one.cosine(&same.to_bytes()).unwrap() - 1.0).abs() < 1e-6);
        assert!(one.cosine(&across.to_bytes()).unwrap().abs() < 1e-6);
        assert_eq!(one.cosine(&[0; 12]), None, "another model's vector");
        assert_eq!(Direction::of(vec![0.0, 0.0]), None);
    }
}
