//! `privnet-bench`: measures privnet against what it is to be held against, in one run.

mod attach;
mod catalogue;
mod create;
mod disk;
mod http;
mod many;
mod overlay;
mod reference;
mod report;
mod runs;
mod stats;
mod traffic;
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use catalogue::BENCHMARKS;
use report::{Machine, Measurement};

/// Where the results go, from the project's own folder.
const JSON: &str = "target/bench.json";
const PAGE: &str = "docs/benchmarks.md";

const USAGE: &str = "\
Measures privnet (the binary beside this one) and prints a table. Needs root.

Usage: privnet-bench [BENCHMARK]...

Without names all are measured, which takes some minutes, and the table in docs/benchmarks.md is
written anew. target/bench.json has the results in any case. Run it where nothing else runs.
";

fn main() -> ExitCode {
    let names: Vec<_> = std::env::args().skip(1).collect();
    if names.iter().any(|name| name == "--help" || name == "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = names.iter().find(|name| catalogue::find(name).is_none()) {
        eprintln!("there is no benchmark {unknown:?}; privnet-bench --help lists them");
        return ExitCode::from(2);
    }
    match run(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let line = |benchmark: &catalogue::Benchmark| {
        let against = if benchmark.against.is_empty() { String::new() } else { format!(" / {}", benchmark.against) };
        format!("  {:<18} {}{against}\n", benchmark.name, benchmark.what)
    };
    format!("{USAGE}\nBenchmarks:\n{}", BENCHMARKS.iter().map(line).collect::<String>())
}

/// Measures the benchmarks of these names; all if there are none.
fn run(names: &[String]) -> Result<()> {
    privnet_lab::catch_interrupts()?;
    let machine = Machine::this()?;
    let measured = measure(|name| names.is_empty() || names.iter().any(|wanted| wanted == name))?;
    print!("\n{}", report::table(&measured));
    report::write_json(&measured, Path::new(JSON))?;
    if names.is_empty() {
        report::write_page(&measured, &machine, Path::new(PAGE))?;
    }
    Ok(())
}

/// Benchmarks that are measured together, by name, and how.
type Group<'a> = (&'a [&'a str], &'a dyn Fn() -> Result<Vec<Measurement>>);

/// Each group has labs of its own, so that none is measured on what another left.
fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measurement>> {
    let groups: [Group; 4] = [
        (&["attach_p50", "attach_p99"], &attach::measure),
        (&overlay::NAMES, &|| overlay::measure(&wants)),
        (&["create_per_second"], &create::measure),
        (&["create_at_100k", "list_100k", "server_rss_100k"], &|| many::measure(&wants)),
    ];
    let mut measured = Vec::new();
    for (names, group) in groups {
        if names.iter().any(|name| wants(name)) {
            let started = Instant::now();
            eprintln!("measuring {}", names.join(", "));
            measured.extend(group()?);
            eprintln!("  {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    Ok(measured)
}
