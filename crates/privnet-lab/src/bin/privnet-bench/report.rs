//! The measurements as tables for people, as JSON for programs and as the tables of a page.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::catalogue::{Against, Benchmark, Target, benchmark};
use crate::machine::Machine;
use crate::plots::plots;
use crate::stats::{Pairs, median};

/// What a page's tables stand between.
const TABLES_START: &str = "<!-- written by `make bench` -->\n";
const TABLES_END: &str = "<!-- end of what is written by `make bench` -->\n";

/// One benchmark, measured or not.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) benchmark: &'static Benchmark,
    /// Or why there is none.
    pub(crate) figures: Result<Figures, String>,
}

/// What a benchmark has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub(crate) value: f64,
    /// What the benchmark is held against, if anything.
    pub(crate) reference: Option<Compared>,
    /// A veth pair, where that is a second reference.
    pub(crate) veth: Option<Compared>,
    /// Of the value, where there is no reference.
    pub(crate) spread: Option<(f64, f64)>,
}

/// What a value is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Compared {
    pub(crate) value: f64,
    pub(crate) ratio: f64,
    /// Of the ratio.
    pub(crate) spread: (f64, f64),
}

impl Compared {
    fn of(pairs: &Pairs) -> Self {
        let value = median(&pairs.reference);
        Self { value, ratio: median(&pairs.ours) / value, spread: pairs.spread() }
    }
}

impl Measurement {
    /// A number held against another: the medians of both.
    pub(crate) fn of_pairs(name: &str, pairs: &Pairs) -> Self {
        Self::of(name, median(&pairs.ours), Some(Compared::of(pairs)), None)
    }

    /// A number of traffic held against the overlay built by hand and against a veth pair.
    pub(crate) fn of_traffic(name: &str, ours: &[f64], hand_built: &[f64], veth: &[f64]) -> Self {
        let to = |reference: &[f64]| Compared::of(&Pairs { ours: ours.to_vec(), reference: reference.to_vec() });
        Self::of(name, median(ours), Some(to(hand_built)), Some(to(veth)))
    }

    fn of(name: &str, value: f64, reference: Option<Compared>, veth: Option<Compared>) -> Self {
        Self { benchmark: benchmark(name), figures: Ok(Figures { value, reference, veth, spread: None }) }
    }

    /// A number that stands for itself.
    pub(crate) fn alone(name: &str, value: f64, spread: (f64, f64)) -> Self {
        let figures = Figures { value, reference: None, veth: None, spread: Some(spread) };
        Self { benchmark: benchmark(name), figures: Ok(figures) }
    }

    /// A benchmark that could not be measured.
    pub(crate) fn failed(name: &str, why: &anyhow::Error) -> Self {
        Self { benchmark: benchmark(name), figures: Err(format!("{why:#}")) }
    }

    /// What there is to know, unless it could not be measured.
    fn figure<T>(&self, of: impl FnOnce(&Figures) -> Option<T>) -> Option<T> {
        self.figures.as_ref().ok().and_then(of)
    }

    pub(crate) fn value(&self) -> Option<f64> {
        self.figure(|figures| Some(figures.value))
    }

    /// What it is held against, if anything.
    pub(crate) fn reference(&self) -> Option<Compared> {
        self.figure(|figures| figures.reference)
    }

    /// What the target is about.
    fn judged(&self) -> Option<f64> {
        self.figure(|figures| Some(figures.reference.map_or(figures.value, |reference| reference.ratio)))
    }

    /// Whether the target is reached, which what could not be measured is not.
    pub(crate) fn reached(&self) -> Option<bool> {
        let target = self.benchmark.target?;
        Some(self.judged().is_some_and(|number| target.reached_by(number)))
    }

    fn to_json(&self) -> Value {
        let Benchmark { name, unit, target, .. } = *self.benchmark;
        let (at_most, at_least) = match target {
            Some(Target::AtMost(limit)) => (Some(limit), None),
            Some(Target::AtLeast(limit)) => (None, Some(limit)),
            None => (None, None),
        };
        let veth = self.figure(|figures| figures.veth);
        json!({
            "name": name,
            "value": self.value(),
            "unit": unit,
            "reference": self.reference().map(|reference| reference.value),
            "ratio": self.reference().map(|reference| reference.ratio),
            "spread": self.figure(|figures| figures.reference.map(|reference| reference.spread).or(figures.spread)),
            "veth": veth.map(|veth| veth.value),
            "veth-ratio": veth.map(|veth| veth.ratio),
            "veth-spread": veth.map(|veth| veth.spread),
            "at-most": at_most,
            "at-least": at_least,
            "reached": self.reached(),
            "error": self.figures.as_ref().err(),
        })
    }

    /// The value, or that there is none; why is told elsewhere.
    fn value_cell(&self) -> String {
        match &self.figures {
            Ok(figures) => format!("{} {}", readable(figures.value), self.benchmark.unit),
            Err(_) => "failed".to_owned(),
        }
    }

    fn spread_cell(&self) -> String {
        let of_value = self.figure(|figures| figures.spread);
        let of_value = of_value.map(|(least, most)| format!("{} to {}", readable(least), readable(most)));
        of_value.or_else(|| self.reference().map(|reference| spread_of_ratio(&reference))).unwrap_or_default()
    }

    fn target_cell(&self) -> String {
        match self.benchmark.target {
            Some(Target::AtMost(limit)) => format!("<= {limit}"),
            Some(Target::AtLeast(limit)) => format!(">= {limit}"),
            None => String::new(),
        }
    }

    fn reached_cell(&self) -> String {
        self.reached().map_or("", |reached| if reached { "yes" } else { "no" }).to_owned()
    }

    /// One of the two references of traffic: its value and the ratio with its spread.
    fn compared_cells(&self, of: Against) -> [String; 2] {
        let compared = match (of, self.benchmark.against) {
            (Against::Veth, Against::Veth) | (Against::HandBuilt, Against::HandBuilt | Against::Unfiltered) => {
                self.reference()
            }
            (Against::Veth, _) => self.figure(|figures| figures.veth),
            _ => None,
        };
        compared.map_or_else(Default::default, |compared| {
            [readable(compared.value), format!("{:.2} ({})", compared.ratio, spread_of_ratio(&compared))]
        })
    }

    fn traffic_cells(&self) -> Vec<String> {
        let mut cells = vec![self.name_cell(), self.value_cell()];
        cells.extend(self.compared_cells(Against::HandBuilt));
        cells.extend(self.compared_cells(Against::Veth));
        cells.extend([self.target_cell(), self.reached_cell()]);
        cells
    }

    fn other_cells(&self) -> Vec<String> {
        let value = self.reference().map(|reference| readable(reference.value));
        let ratio = self.reference().map(|reference| format!("{:.2}", reference.ratio));
        let mut cells = vec![self.name_cell(), self.value_cell()];
        cells.extend([value.unwrap_or_default(), ratio.unwrap_or_default(), self.spread_cell()]);
        cells.extend([self.target_cell(), self.reached_cell()]);
        cells
    }

    fn name_cell(&self) -> String {
        self.benchmark.name.to_owned()
    }
}

fn spread_of_ratio(compared: &Compared) -> String {
    let (least, most) = compared.spread;
    format!("{least:.2} to {most:.2}")
}

/// Three significant digits, no more than are measured.
pub(crate) fn readable(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Rows under their heads.
struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// That of traffic, which has two references.
    fn of_traffic(measurements: &[Measurement]) -> Self {
        let heads = vec!["benchmark", "privnet", "hand-built", "ratio", "bare veth", "ratio", "target", "reached"];
        let rows = measurements.iter().filter(|measurement| measurement.benchmark.is_traffic());
        Self { heads, rows: rows.map(Measurement::traffic_cells).collect() }
    }

    fn of_others(measurements: &[Measurement]) -> Self {
        let heads = vec!["benchmark", "value", "reference", "ratio", "spread", "target", "reached"];
        let rows = measurements.iter().filter(|measurement| !measurement.benchmark.is_traffic());
        Self { heads, rows: rows.map(Measurement::other_cells).collect() }
    }

    /// As a terminal shows it.
    fn aligned(&self) -> String {
        let heads: Vec<_> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let rows: Vec<_> = std::iter::once(&heads).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let widths: Vec<_> = (0..self.heads.len()).map(width).collect();
        let line = |row: &&Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }

    /// As a page has it, with what each benchmark is about in words.
    fn markdown(&self) -> String {
        let mut text = format!("| {} | what |\n|{}\n", self.heads.join(" | "), "---|".repeat(self.heads.len() + 1));
        for row in &self.rows {
            let Benchmark { what, against, .. } = benchmark(&row[0]);
            let what = match against {
                Against::Other(reference) => format!("{what}; reference: {reference}"),
                _ => (*what).to_owned(),
            };
            text += &format!("| `{}` | {} | {what} |\n", row[0], row[1..].join(" | "));
        }
        text
    }
}

/// All there is to say, as a terminal shows it.
pub(crate) fn text(measurements: &[Measurement]) -> String {
    let tables = [Table::of_traffic(measurements), Table::of_others(measurements)];
    let tables = tables.iter().filter(|table| !table.rows.is_empty()).map(Table::aligned);
    let failures = failures(measurements).map(|(name, why)| format!("{name} failed: {why}\n"));
    let failures = failures.collect::<String>();
    tables.chain(std::iter::once(failures).filter(|text| !text.is_empty())).collect::<Vec<_>>().join("\n")
}

fn failures(measurements: &[Measurement]) -> impl Iterator<Item = (&str, &str)> {
    measurements.iter().filter_map(|measurement| {
        let why = measurement.figures.as_ref().err()?;
        Some((measurement.benchmark.name, why.as_str()))
    })
}

/// Writes the measurements as a JSON list.
pub(crate) fn write_json(measurements: &[Measurement], path: &Path) -> Result<()> {
    let list: Value = measurements.iter().map(Measurement::to_json).collect();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, format!("{list:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts the measurements in the place of the page's tables, and plots in the folder of the page's name.
pub(crate) fn write_page(measurements: &[Measurement], machine: &Machine, path: &Path) -> Result<()> {
    let plots = plots(measurements);
    let folder = path.with_extension("");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for plot in &plots {
        let path = folder.join(plot.file);
        fs::write(&path, &plot.svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    let images: Vec<_> = plots.iter().map(|plot| format!("![{}]({folder}/{})\n", plot.title, plot.file)).collect();
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = with_tables(&page, &markdown(measurements, machine, &images.join("\n")));
    fs::write(path, page.with_context(|| path.display().to_string())?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn with_tables(page: &str, tables: &str) -> Result<String> {
    let marks = page
        .split_once(TABLES_START)
        .and_then(|(before, rest)| rest.split_once(TABLES_END).map(|(_, after)| (before, after)));
    let (before, after) = marks.context("the marks around the tables are not there")?;
    Ok(format!("{before}{TABLES_START}{tables}{TABLES_END}{after}"))
}

fn markdown(measurements: &[Measurement], machine: &Machine, images: &str) -> String {
    let mut text = format!("\nMeasured on {machine}\n\n{images}");
    text += &format!("\n### Traffic between two hosts\n\n{}", Table::of_traffic(measurements).markdown());
    text += &format!("\n### Everything else\n\n{}", Table::of_others(measurements).markdown());
    for (name, why) in failures(measurements) {
        text += &format!("\n`{name}` failed: {}\n", why.lines().next().unwrap_or_default());
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurements() -> [Measurement; 4] {
        let pairs = Pairs { ours: vec![3.0, 2.0, 40.0], reference: vec![2.0, 2.0, 4.0] };
        [
            Measurement::of_traffic("tcp_stream", &[3.0, 2.0, 40.0], &[2.0, 2.0, 4.0], &[6.0, 6.0, 6.0]),
            Measurement::of_pairs("rtt_veth", &pairs),
            Measurement::alone("attach_p99", 31.24, (9.0, 250.0)),
            Measurement::failed("server_rss_100k", &anyhow::anyhow!("no answer\nsecond line").context("cannot ask")),
        ]
    }

    #[test]
    fn a_ratio_is_that_of_the_medians_and_judged_by_the_target() {
        let [stream, rtt, attach, _] = measurements();
        let figures = stream.figures.clone().expect("measured");
        assert_eq!((figures.value, figures.reference.expect("one").ratio), (3.0, 1.5));
        assert_eq!(figures.veth.expect("one").ratio, 0.5);
        assert_eq!([stream, rtt, attach].map(|one| one.reached()), [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn what_could_not_be_measured_has_not_reached_its_target() {
        let [.., failed] = measurements();
        assert_eq!(failed.reached(), Some(false));
    }

    #[test]
    fn the_tables_are_aligned_and_say_what_is_reached_and_what_failed() {
        let expected = "\
benchmark   privnet      hand-built  ratio                bare veth  ratio                target  reached
tcp_stream  3.00 Gbit/s  2.00        1.50 (1.50 to 1.50)  6.00       0.50 (0.50 to 0.50)  >= 1    yes
rtt_veth    3.00 us                                       2.00       1.50 (1.50 to 1.50)  <= 1.2  no

benchmark        value    reference  ratio  spread       target  reached
attach_p99       31.2 ms                    9.00 to 250  <= 25   no
server_rss_100k  failed                                  <= 512  no

server_rss_100k failed: cannot ask: no answer
second line
";
        assert_eq!(text(&measurements()), expected);
    }

    #[test]
    fn the_json_has_null_for_what_there_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("target/bench.json");
        let [stream, _, attach, failed] = measurements();
        write_json(&[stream, attach, failed], &path).expect("written");
        let written: Value = serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON");
        let expected = json!([
            {
                "name": "tcp_stream", "value": 3.0, "unit": "Gbit/s",
                "reference": 2.0, "ratio": 1.5, "spread": [1.5, 1.5],
                "veth": 6.0, "veth-ratio": 0.5, "veth-spread": [0.5, 0.5],
                "at-most": null, "at-least": 1.0, "reached": true, "error": null,
            },
            {
                "name": "attach_p99", "value": 31.24, "unit": "ms",
                "reference": null, "ratio": null, "spread": [9.0, 250.0],
                "veth": null, "veth-ratio": null, "veth-spread": null,
                "at-most": 25.0, "at-least": null, "reached": false, "error": null,
            },
            {
                "name": "server_rss_100k", "value": null, "unit": "MiB",
                "reference": null, "ratio": null, "spread": null,
                "veth": null, "veth-ratio": null, "veth-spread": null,
                "at-most": 512.0, "at-least": null, "reached": false, "error": "cannot ask: no answer\nsecond line",
            },
        ]);
        assert_eq!(written, expected);
    }

    #[test]
    fn a_page_keeps_all_but_its_tables() {
        let page = format!("before\n{TABLES_START}old\n{TABLES_END}after\n");
        let expected = format!("before\n{TABLES_START}new\n{TABLES_END}after\n");
        assert_eq!(with_tables(&page, "new\n").expect("marks"), expected);
        assert!(with_tables("no marks\n", "new\n").is_err());
    }

    #[test]
    fn the_page_shows_the_plots_that_are_written_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("page.md");
        fs::write(&path, format!("{TABLES_START}{TABLES_END}")).expect("written");
        write_page(&measurements(), &Machine::default(), &path).expect("written");
        let page = fs::read_to_string(&path).expect("a page");
        for plot in ["page/traffic.svg", "page/attach.svg"] {
            assert!(page.contains(&format!("]({plot})\n")), "{page}");
            assert!(fs::read_to_string(dir.path().join(plot)).expect("a plot").starts_with("<svg "));
        }
    }

    #[test]
    fn a_row_of_the_page_has_as_many_cells_as_its_head() {
        let text = markdown(&measurements(), &Machine::default(), "![a plot](a.svg)\n");
        let widths: Vec<_> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [10, 10, 10, 10, 9, 9, 9, 9]);
        assert!(text.contains("`server_rss_100k` failed: cannot ask: no answer\n"), "{text}");
    }
}
