//! Plots, as SVG that reads well on light and dark pages and says in words what it shows.

use std::fmt::Write;

use crate::catalogue::Target;
use crate::report::readable;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.axis { stroke: #8c959f; }
.first { stroke: #0969da; fill: #0969da; }
.second { stroke: #8250df; fill: #8250df; }
.open { fill: #ffffff; }
.line { fill: none; stroke-width: 2; }
.limit { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 5 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .page, .open { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .axis { stroke: #7d8590; }
  .first { stroke: #4493f8; fill: #4493f8; }
  .second { stroke: #ab7df8; fill: #ab7df8; }
  .first.open, .second.open { fill: #0d1117; }
  .limit { stroke: #db6d28; }
}
.line.first, .line.second { fill: none; }
";

const WIDTH: f64 = 760.0;
const TITLE_HEIGHT: f64 = 44.0;
const ROW_HEIGHT: f64 = 24.0;
const LABEL_WIDTH: f64 = 190.0;
const VALUE_WIDTH: f64 = 170.0;
const AXIS_HEIGHT: f64 = 40.0;
const PLOT_HEIGHT: f64 = 240.0;
const MARGIN: f64 = 24.0;
const TEXT_HEIGHT: f64 = 16.0;

/// A ratio with its spread, and what it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Ratio {
    pub(crate) label: &'static str,
    pub(crate) ratio: f64,
    pub(crate) spread: (f64, f64),
    pub(crate) target: Option<Target>,
}

/// Values by a number of something.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) label: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a plot of lines says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axes {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) across: &'static str,
    /// What no value should exceed.
    pub(crate) limit: Option<f64>,
}

/// A row for each ratio: a dot on the bar of its spread, filled if its target is reached or it has none, and
/// a stroke where its target is.
pub(crate) fn ratios(title: &str, rows: &[Ratio]) -> String {
    let targets = rows.iter().filter_map(|row| row.target.map(limit_of));
    let most = rows.iter().map(|row| row.spread.1).chain(targets).fold(1.0, f64::max);
    let (step, end) = ticks(most * 1.05);
    let x = |ratio: f64| LABEL_WIDTH + ratio / end * (WIDTH - LABEL_WIDTH - VALUE_WIDTH);
    let bottom = TITLE_HEIGHT + ROW_HEIGHT * rows.len() as f64;
    let mut body = String::new();
    for tick in (0..).map(|number| f64::from(number) * step).take_while(|tick| *tick <= end * 1.001) {
        let class = if (tick - 1.0).abs() < 1e-9 { "axis" } else { "grid" };
        body += &stroke(class, (x(tick), TITLE_HEIGHT), (x(tick), bottom));
        body += &text("middle", (x(tick), bottom + 18.0), &plain(tick));
    }
    for (number, row) in rows.iter().enumerate() {
        let y = TITLE_HEIGHT + ROW_HEIGHT * (number as f64 + 0.5);
        body += &text("end", (LABEL_WIDTH - 12.0, y + 4.0), row.label);
        let (least, most) = row.spread;
        body += &stroke("line first", (x(least), y), (x(most), y));
        if let Some(target) = row.target {
            let at = x(limit_of(target));
            body += &stroke("limit", (at, y - 9.0), (at, y + 9.0));
        }
        let is_reached = row.target.is_none_or(|target| target.reached_by(row.ratio));
        body += &dot(if is_reached { "first" } else { "first open" }, (x(row.ratio), y));
        body += &text("start", (WIDTH - VALUE_WIDTH + 14.0, y + 4.0), &in_words(row));
    }
    let said: Vec<_> = rows.iter().map(|row| format!("{} {}", row.label, in_words(row))).collect();
    document(title, &said.join("; "), bottom + AXIS_HEIGHT, &body)
}

/// A line for each series over a logarithmic axis.
///
/// # Panics
/// There is no point.
pub(crate) fn lines(axes: Axes, series: &[Line]) -> String {
    let points = || series.iter().flat_map(|line| line.points.iter().copied());
    let most = points().map(|(_, value)| value).chain(axes.limit).fold(0.0, f64::max);
    let (step, end) = ticks(most * 1.1);
    let (first, last) = points().fold((f64::MAX, f64::MIN), |(first, last), (x, _)| (first.min(x), last.max(x)));
    assert!(first <= last, "there is no point");
    let (left, right) = (MARGIN + 40.0, WIDTH - VALUE_WIDTH);
    let bottom = TITLE_HEIGHT + PLOT_HEIGHT;
    let x = |number: f64| left + (number / first).ln() / (last / first).ln().max(1e-9) * (right - left);
    let y = |value: f64| bottom - value / end * PLOT_HEIGHT;
    let mut body = String::new();
    for tick in (0..).map(|number| f64::from(number) * step).take_while(|tick| *tick <= end * 1.001) {
        body += &stroke(if tick == 0.0 { "axis" } else { "grid" }, (left, y(tick)), (right, y(tick)));
        body += &text("end", (left - 8.0, y(tick) + 4.0), &plain(tick));
    }
    let mut numbers: Vec<_> = points().map(|(number, _)| number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    for number in numbers {
        body += &text("middle", (x(number), bottom + 18.0), &plain(number));
    }
    body += &text("middle", (f64::midpoint(left, right), bottom + 36.0), axes.across);
    let mut labels = Vec::new();
    if let Some(limit) = axes.limit {
        body += &stroke("limit", (left, y(limit)), (right, y(limit)));
        labels.push((y(limit), format!("target: at most {}", plain(limit))));
    }
    let mut said = Vec::new();
    for (line, class) in series.iter().zip(["first", "second"]) {
        let path: Vec<_> =
            line.points.iter().map(|(number, value)| format!("{:.1},{:.1}", x(*number), y(*value))).collect();
        let _ = writeln!(body, r#"<polyline class="line {class}" points="{}"/>"#, path.join(" "));
        line.points.iter().for_each(|(number, value)| body += &dot(class, (x(*number), y(*value))));
        if let Some((_, value)) = line.points.last() {
            labels.push((y(*value), format!("{}: {}", line.label, readable(*value))));
        }
        let values: Vec<_> =
            line.points.iter().map(|(number, value)| format!("{} at {}", readable(*value), plain(*number))).collect();
        said.push(format!("{}: {}", line.label, values.join(", ")));
    }
    let places = apart(labels.iter().map(|(y, _)| *y).collect());
    for ((_, label), y) in labels.iter().zip(places) {
        body += &text("start", (right + 10.0, y + 4.0), label);
    }
    let said = format!("{}, by {}: {}", axes.unit, axes.across, said.join("; "));
    document(axes.title, &said, bottom + AXIS_HEIGHT + 10.0, &body)
}

/// These heights, those moved down a little that would come too close for a line of text each.
fn apart(heights: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<_> = (0..heights.len()).collect();
    order.sort_by(|one, other| heights[*one].total_cmp(&heights[*other]));
    let mut places = heights;
    for pair in 1..order.len() {
        let [above, below] = [order[pair - 1], order[pair]];
        places[below] = places[below].max(places[above] + TEXT_HEIGHT);
    }
    places
}

fn limit_of(target: Target) -> f64 {
    let (Target::AtMost(limit) | Target::AtLeast(limit)) = target;
    limit
}

fn in_words(row: &Ratio) -> String {
    let ratio = row.ratio;
    match row.target {
        Some(Target::AtMost(limit)) => format!("{ratio:.2}, at most {limit}"),
        Some(Target::AtLeast(limit)) => format!("{ratio:.2}, at least {limit}"),
        None => format!("{ratio:.2}"),
    }
}

/// Steps of 1, 2 or 5 times a power of ten, at most seven up to the largest value, and where they end.
fn ticks(most: f64) -> (f64, f64) {
    let power = 10f64.powf((most / 7.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| most / step <= 7.0);
    let step = step.unwrap_or(10.0 * power);
    (step, (most / step).ceil() * step)
}

/// A round number without needless zeros.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn document(title: &str, said: &str, height: f64, body: &str) -> String {
    let (title, said) = (escaped(title), escaped(said));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title said" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">
<title id="title">{title}</title>
<desc id="said">{said}</desc>
<style>
{STYLE}</style>
<rect class="page" width="{WIDTH}" height="{height}"/>
<text class="title" x="{MARGIN}" y="26">{title}</text>
{body}</svg>
"#
    )
}

fn stroke(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n")
}

fn dot(class: &str, (x, y): (f64, f64)) -> String {
    format!("<circle class=\"{class}\" stroke-width=\"2\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>\n")
}

fn text(anchor: &str, (x, y): (f64, f64), text: &str) -> String {
    let text = escaped(text);
    format!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_and_hold_the_largest_value() {
        for (most, expected) in [(1.8, (0.5, 2.0)), (1.0, (0.2, 1.0)), (27.5, (5.0, 30.0)), (0.9, (0.2, 1.0))] {
            let (step, end) = ticks(most);
            assert!((step - expected.0).abs() < 1e-9 && (end - expected.1).abs() < 1e-9, "{most}: {step}, {end}");
        }
        assert_eq!(["0", "0.5", "1000"], [0.0, 0.5, 1000.0].map(plain).each_ref().map(String::as_str));
    }

    #[test]
    fn labels_keep_their_order_and_a_line_of_text_between_them() {
        assert_eq!(apart(vec![50.0, 10.0, 48.0, 12.0]), [64.0, 10.0, 48.0, 26.0]);
        assert_eq!(apart(Vec::new()), [0.0; 0]);
    }

    #[test]
    fn a_ratio_that_misses_its_target_is_an_empty_dot_and_all_is_said_in_words() {
        let row = |label, target| Ratio { label, ratio: 0.92, spread: (0.9, 1.0), target };
        let rows = [row("a & b", Some(Target::AtMost(0.95))), row("c", Some(Target::AtLeast(1.0))), row("d", None)];
        let plot = ratios("ratios", &rows);
        let dots: Vec<_> = plot.lines().filter(|line| line.starts_with("<circle")).collect();
        assert_eq!(dots.len(), 3);
        assert_eq!([0, 1, 2].map(|dot| dots[dot].contains("open")), [false, true, false]);
        assert!(plot.contains("a &amp; b 0.92, at most 0.95; c 0.92, at least 1; d 0.92</desc>"), "{plot}");
        assert_eq!(plot.matches(r#"class="limit""#).count(), 2);
    }

    #[test]
    fn a_line_has_a_dot_for_each_point_at_its_place() {
        let axes = Axes { title: "t", unit: "ms", across: "ports", limit: Some(25.0) };
        let plot = lines(axes, &[Line { label: "privnet", points: vec![(1.0, 0.0), (10.0, 3.0), (100.0, 6.0)] }]);
        let x: Vec<_> = plot
            .lines()
            .filter_map(|line| {
                line.strip_prefix("<circle")?.split_once("cx=\"")?.1.split('"').next()?.parse::<f64>().ok()
            })
            .collect();
        assert_eq!(x.len(), 3);
        assert!((x[1] - f64::midpoint(x[0], x[2])).abs() < 0.2, "a logarithmic axis: {x:?}");
        assert!(plot.contains("ms, by ports: privnet: 0 at 1, 3.00 at 10, 6.00 at 100</desc>"), "{plot}");
        assert!(plot.contains("target: at most 25"), "{plot}");
    }
}
