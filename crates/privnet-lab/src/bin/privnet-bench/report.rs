//! The measurements as a table for people, as JSON for programs and as the table of a page.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::catalogue::{Benchmark, Target, find};
use crate::stats::{Pairs, median};

/// What a page's table stands between.
const TABLE_STARTS: &str = "<!-- written by `make bench` -->\n";
const TABLE_ENDS: &str = "<!-- end of what is written by `make bench` -->\n";

const COLUMNS: [&str; 7] = ["benchmark", "value", "reference", "ratio", "spread", "target", "reached"];

/// One number, measured.
#[derive(Debug)]
pub(crate) struct Measurement {
    benchmark: &'static Benchmark,
    value: f64,
    reference: Option<f64>,
    /// Of the ratio, or of the value if there is no reference.
    spread: (f64, f64),
}

impl Measurement {
    /// A number held against another: the medians of both.
    pub(crate) fn of_pairs(name: &str, pairs: &Pairs) -> Result<Self> {
        Ok(Self {
            benchmark: find(name).context("no such benchmark")?,
            value: median(&pairs.ours),
            reference: Some(median(&pairs.reference)),
            spread: pairs.spread(),
        })
    }

    /// A number that stands for itself.
    pub(crate) fn alone(name: &str, value: f64, spread: (f64, f64)) -> Result<Self> {
        Ok(Self { benchmark: find(name).context("no such benchmark")?, value, reference: None, spread })
    }

    fn ratio(&self) -> Option<f64> {
        self.reference.map(|reference| self.value / reference)
    }

    fn reached(&self) -> Option<bool> {
        Some(self.benchmark.target?.reached_by(self.ratio().unwrap_or(self.value)))
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.benchmark.name,
            "value": self.value,
            "unit": self.benchmark.unit,
            "reference": self.reference,
            "ratio": self.ratio(),
        })
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let (least, most) = self.spread;
        let spread = match self.reference {
            Some(_) => format!("{least:.2} to {most:.2}"),
            None => format!("{} to {}", readable(least), readable(most)),
        };
        let target = match self.benchmark.target {
            Some(Target::AtMost(limit)) => format!("<= {limit}"),
            Some(Target::AtLeast(limit)) => format!(">= {limit}"),
            None => String::new(),
        };
        [
            self.benchmark.name.to_owned(),
            format!("{} {}", readable(self.value), self.benchmark.unit),
            self.reference.map(readable).unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            spread,
            target,
            self.reached().map_or("", |reached| if reached { "yes" } else { "no" }).to_owned(),
        ]
    }
}

/// Three significant digits, no more than are measured.
fn readable(number: f64) -> String {
    match number.abs() {
        ..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// The table as a terminal shows it.
pub(crate) fn table(measurements: &[Measurement]) -> String {
    let rows: Vec<_> =
        std::iter::once(COLUMNS.map(str::to_owned)).chain(measurements.iter().map(Measurement::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Writes the measurements as a JSON list.
pub(crate) fn write_json(measurements: &[Measurement], path: &Path) -> Result<()> {
    let list: Value = measurements.iter().map(Measurement::to_json).collect();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, format!("{list:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts the measurements in the place of the page's table.
pub(crate) fn write_page(measurements: &[Measurement], machine: &Machine, path: &Path) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = with_table(&page, &markdown(measurements, machine)).with_context(|| path.display().to_string())?;
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn with_table(page: &str, table: &str) -> Result<String> {
    let marks = page
        .split_once(TABLE_STARTS)
        .and_then(|(before, rest)| rest.split_once(TABLE_ENDS).map(|(_, after)| (before, after)));
    let (before, after) = marks.context("the marks around the table are not there")?;
    Ok(format!("{before}{TABLE_STARTS}{table}{TABLE_ENDS}{after}"))
}

fn markdown(measurements: &[Measurement], machine: &Machine) -> String {
    let mut text = format!(
        "\nMeasured on {} by `make bench`: {}, {} cores, kernel {}. Load before the start: {}.\n\n",
        machine.date, machine.cpu, machine.cores, machine.kernel, machine.load
    );
    text += "| benchmark | what | held against | value | reference | ratio | spread | target | reached |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for measurement in measurements {
        let Benchmark { what, against, .. } = measurement.benchmark;
        let [name, rest @ ..] = measurement.cells();
        text += &format!("| `{name}` | {what} | {against} | {} |\n", rest.join(" | "));
    }
    text + "\n"
}

/// Where and when it was measured.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Processes that ran or wanted to, over the last minute.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = Command::new("date").args(["-u", "+%F"]).output().context("cannot run date")?;
        ensure!(date.status.success(), "date failed");
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            date: String::from_utf8(date.stdout)?.trim().to_owned(),
            cpu: model.map_or("unknown CPU", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurements() -> [Measurement; 2] {
        let pairs = Pairs { ours: vec![3.0, 2.0, 40.0], reference: vec![2.0, 2.0, 4.0] };
        [
            Measurement::of_pairs("tcp_stream", &pairs).expect("a benchmark"),
            Measurement::alone("attach_p99", 31.24, (9.0, 250.0)).expect("a benchmark"),
        ]
    }

    #[test]
    fn a_ratio_is_that_of_the_medians_and_judged_by_the_target() {
        let [stream, attach] = measurements();
        assert_eq!((stream.value, stream.reference, stream.ratio()), (3.0, Some(2.0), Some(1.5)));
        assert_eq!((stream.reached(), attach.reached()), (Some(true), Some(false)));
    }

    #[test]
    fn the_table_is_aligned_and_says_what_is_reached() {
        let expected = "\
benchmark   value        reference  ratio  spread        target  reached
tcp_stream  3.00 Gbit/s  2.00       1.50   1.50 to 1.50  >= 1    yes
attach_p99  31.2 ms                        9.00 to 250   <= 25   no
";
        assert_eq!(table(&measurements()), expected);
    }

    #[test]
    fn the_json_has_null_where_there_is_no_reference() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("target/bench.json");
        write_json(&measurements(), &path).expect("written");
        let written: Value = serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON");
        let expected = json!([
            {"name": "tcp_stream", "value": 3.0, "unit": "Gbit/s", "reference": 2.0, "ratio": 1.5},
            {"name": "attach_p99", "value": 31.24, "unit": "ms", "reference": null, "ratio": null},
        ]);
        assert_eq!(written, expected);
    }

    #[test]
    fn a_page_keeps_all_but_its_table() {
        let page = format!("before\n{TABLE_STARTS}old\n{TABLE_ENDS}after\n");
        let expected = format!("before\n{TABLE_STARTS}new\n{TABLE_ENDS}after\n");
        assert_eq!(with_table(&page, "new\n").expect("marks"), expected);
        assert!(with_table("no marks\n", "new\n").is_err());
    }

    #[test]
    fn a_row_of_the_page_has_as_many_cells_as_its_head() {
        let machine = Machine {
            date: "2026-01-02".to_owned(),
            cpu: "a CPU".to_owned(),
            cores: 2,
            kernel: "6.1".to_owned(),
            load: "0.10".to_owned(),
        };
        let text = markdown(&measurements(), &machine);
        let widths: Vec<_> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [10; 4]);
        assert!(text.contains("2026-01-02") && text.contains("a CPU, 2 cores, kernel 6.1"), "{text}");
    }
}
