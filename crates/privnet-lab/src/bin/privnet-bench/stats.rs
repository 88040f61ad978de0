//! What many runs come to.

/// The runs of something and of what it is held against, in pairs taken one right after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pairs {
    pub(crate) ours: Vec<f64>,
    pub(crate) reference: Vec<f64>,
}

impl Pairs {
    /// The smallest and the largest ratio of a pair, the best and the worst pair left out.
    pub(crate) fn spread(&self) -> (f64, f64) {
        spread(self.ours.iter().zip(&self.reference).map(|(ours, reference)| ours / reference))
    }
}

/// The value in the middle; of an even number the mean of the two there.
///
/// # Panics
/// There are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values.iter().copied());
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The smallest value that at least so many percent of the values do not exceed (nearest rank).
///
/// # Panics
/// There are no values.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let sorted = sorted(values.iter().copied());
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.max(1) - 1]
}

/// The smallest and the largest value, when the best and the worst have been left out of three or more.
///
/// # Panics
/// There are no values.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let sorted = sorted(values);
    let kept = if sorted.len() >= 3 { &sorted[1..sorted.len() - 1] } else { &sorted[..] };
    (kept[0], kept[kept.len() - 1])
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), 50.0);
        assert_eq!(percentile(&hundred, 99), 99.0);
        assert_eq!(percentile(&hundred, 100), 100.0);
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 99), 3.0);
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0), 1.0);
    }

    #[test]
    fn the_spread_leaves_out_the_best_and_the_worst() {
        assert_eq!(spread([5.0, 1.0, 100.0, 2.0, 3.0]), (2.0, 5.0));
        assert_eq!(spread([2.0, 1.0]), (1.0, 2.0), "of two there is nothing to leave out");
    }

    #[test]
    fn the_spread_of_pairs_is_that_of_their_ratios() {
        let pairs = Pairs { ours: vec![1.0, 30.0, 20.0, 40.0], reference: vec![10.0, 10.0, 40.0, 40.0] };
        assert_eq!(pairs.spread(), (0.5, 1.0));
    }
}
