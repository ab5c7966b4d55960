//! Quantiles.

/// The quantile at `part`, from 0 to 1; NaN if there are no values.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a list that fits into memory"
    )]
    let index = (last as f64 * part.clamp(0.0, 1.0)).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

pub(crate) fn least(values: &[f64]) -> f64 {
    quantile(values, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let found = [least(&values), median(&values), quantile(&values, 0.99), quantile(&values, 1.0)];
        assert_eq!(found.map(|value| value.to_string()), ["0", "50", "99", "100"]);
        assert!(median(&[]).is_nan());
    }
}
