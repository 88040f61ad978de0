//! How often something is measured, and in which order.

use anyhow::Result;
use privnet_lab::check_interrupts;

/// Odd, so that the median is a run that there was.
pub(crate) const RUNS: usize = 9;

/// Measures ours and what it is held against in turn, and returns the runs of each. Which of them comes
/// first changes from run to run, so that none gains by a machine that warms up or gets busier.
pub(crate) fn in_turn<T, const WAYS: usize>(ways: [&mut dyn FnMut() -> Result<T>; WAYS]) -> Result<[Vec<T>; WAYS]> {
    let mut runs = std::array::from_fn(|_| Vec::with_capacity(RUNS));
    for run in 0..RUNS {
        for way in order(run, WAYS) {
            check_interrupts()?;
            runs[way].push(ways[way]()?);
        }
    }
    Ok(runs)
}

/// In which order so many ways are measured in this run.
fn order(run: usize, ways: usize) -> impl Iterator<Item = usize> {
    (0..ways).map(move |place| (run + place) % ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_measured_once_in_each_run_and_in_each_place_as_often() {
        let runs: Vec<Vec<_>> = (0..6).map(|run| order(run, 3).collect()).collect();
        assert_eq!(runs[..3], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        assert_eq!(runs[..3], runs[3..]);
    }
}
