//! How often something is measured, and in which order.

use anyhow::Result;
use privnet_lab::check_interrupts;

/// Odd, so that the median is a run that there was.
pub(crate) const RUNS: usize = 9;

/// Measures ours and the reference in turn; which of the two comes first changes from pair to pair, so
/// that neither gains by a machine that warms up or gets busier.
pub(crate) fn alternate<T>(
    mut ours: impl FnMut() -> Result<T>,
    mut reference: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    let mut pairs = Vec::with_capacity(RUNS);
    for run in 0..RUNS {
        check_interrupts()?;
        pairs.push(if run % 2 == 0 {
            let ours = ours()?;
            (ours, reference()?)
        } else {
            let reference = reference()?;
            (ours()?, reference)
        });
    }
    Ok(pairs)
}
