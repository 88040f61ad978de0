//! What of the measurements is shown as plots.

use crate::report::{Compared, Measurement};
use crate::svg::{Axes, Line, Ratio, lines, ratios};

/// A plot of the page.
#[derive(Debug)]
pub(crate) struct Plot {
    /// In the folder of plots.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

/// The benchmarks of attaches and broadcasts, and at how many ports each was measured.
const ATTACHES: [(&str, f64); 3] = [("attach_p99", 1.0), ("attach_p99_100", 100.0), ("attach_p99_1000", 1000.0)];
const BROADCASTS: [(&str, f64); 3] =
    [("broadcast_fanout_2", 2.0), ("broadcast_fanout_100", 100.0), ("broadcast_fanout_1000", 1000.0)];

/// The plots of what has been measured.
pub(crate) fn plots(measurements: &[Measurement]) -> Vec<Plot> {
    [of_traffic(measurements), of_attaches(measurements), of_broadcasts(measurements)].into_iter().flatten().collect()
}

fn of_traffic(measurements: &[Measurement]) -> Option<Plot> {
    let title = "Traffic: privnet / reference, with the spread of nine runs; the strokes are targets";
    let rows = measurements.iter().filter(|measurement| measurement.benchmark.is_traffic());
    let rows: Vec<_> = rows.filter_map(|row| Some((row, row.reference()?))).map(ratio).collect();
    (!rows.is_empty()).then(|| Plot { file: "traffic.svg", title, svg: ratios(title, &rows) })
}

fn ratio((measurement, compared): (&Measurement, Compared)) -> Ratio {
    let Compared { ratio, spread, .. } = compared;
    Ratio { label: measurement.benchmark.name, ratio, spread, target: measurement.benchmark.target }
}

fn of_attaches(measurements: &[Measurement]) -> Option<Plot> {
    let axes = Axes {
        title: "Attach: milliseconds from request to success on two hosts, 99th percentile",
        unit: "ms",
        across: "ports per host",
        limit: Some(25.0),
    };
    let points = points(measurements, ATTACHES, |measurement| measurement.value());
    let line = Line { label: "privnet", points };
    (!line.points.is_empty()).then(|| Plot { file: "attach.svg", title: axes.title, svg: lines(axes, &[line]) })
}

fn of_broadcasts(measurements: &[Measurement]) -> Option<Plot> {
    let axes = Axes {
        title: "Broadcast: microseconds of CPU for each receiver",
        unit: "us",
        across: "ports on one host",
        limit: None,
    };
    let ours = points(measurements, BROADCASTS, |measurement| measurement.value());
    let bridge = points(measurements, BROADCASTS, |measurement| Some(measurement.reference()?.value));
    let lines_of = [Line { label: "privnet", points: ours }, Line { label: "bridge", points: bridge }];
    let is_measured = lines_of.iter().all(|line| !line.points.is_empty());
    is_measured.then(|| Plot { file: "broadcast.svg", title: axes.title, svg: lines(axes, &lines_of) })
}

/// A number of these benchmarks, where it was measured, over how many ports there were.
fn points(
    measurements: &[Measurement],
    benchmarks: [(&str, f64); 3],
    number: impl Fn(&Measurement) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let of = |name: &str| measurements.iter().find(|measurement| measurement.benchmark.name == name);
    benchmarks.into_iter().filter_map(|(name, ports)| Some((ports, number(of(name)?)?))).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::stats::Pairs;

    #[test]
    fn what_failed_is_left_out_and_a_plot_of_nothing_too() {
        let pairs = Pairs { ours: vec![2.0], reference: vec![1.0] };
        let measured = [
            Measurement::failed("rtt", &anyhow!("broken")),
            Measurement::alone("attach_p99", 3.0, (2.0, 4.0)),
            Measurement::failed("attach_p99_100", &anyhow!("broken")),
            Measurement::alone("attach_p99_1000", 5.0, (2.0, 4.0)),
            Measurement::of_pairs("broadcast_fanout_2", &pairs),
        ];
        let plots = plots(&measured);
        assert_eq!(plots.iter().map(|plot| plot.file).collect::<Vec<_>>(), ["attach.svg", "broadcast.svg"]);
        assert!(plots[0].svg.contains("privnet: 3.00 at 1, 5.00 at 1000"), "{}", plots[0].svg);
        assert!(plots[1].svg.contains("privnet: 2.00 at 2; bridge: 1.00 at 2"), "{}", plots[1].svg);
    }
}
