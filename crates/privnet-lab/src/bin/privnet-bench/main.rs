//! `privnet-bench`: measures privnet against what it is to be held against, in one run.

mod catalogue;
mod clients;
mod containers;
mod create;
mod dhcp;
mod disk;
mod fanout;
mod foreign;
mod http;
mod machine;
mod many;
mod moves;
mod overlay;
mod pings;
mod plots;
mod ports;
mod reference;
mod report;
mod runs;
mod session;
mod signed;
mod stats;
mod svg;
mod traffic;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use catalogue::{Against, BENCHMARKS, Benchmark};
use machine::Machine;
use report::Measurement;
use session::{Session, Step};

/// Where the results go, from the project's own folder.
const JSON: &str = "target/bench.json";
const PAGE: &str = "docs/benchmarks.md";

const USAGE: &str = "\
Measures privnet (the binary beside this one) and prints tables. Needs root.

Usage: privnet-bench [BENCHMARK]...

Without names all are measured, which takes some minutes, and the tables in docs/benchmarks.md are
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
    match run(names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let line = |benchmark: &Benchmark| {
        let against = match benchmark.against {
            Against::Nothing => String::new(),
            Against::HandBuilt => " / bridge and VXLAN, hand-built; / a veth pair".to_owned(),
            Against::Unfiltered => " / the former past the packet filter".to_owned(),
            Against::Veth => " / a veth pair".to_owned(),
            Against::Other(reference) => format!(" / {reference}"),
        };
        format!("  {:<21} {}{against}\n", benchmark.name, benchmark.what)
    };
    format!("{USAGE}\nBenchmarks:\n{}", BENCHMARKS.iter().map(line).collect::<String>())
}

/// Measures the benchmarks of these names, all if there are none, and returns whether all could be.
fn run(names: Vec<String>) -> Result<bool> {
    privnet_lab::catch_interrupts()?;
    let machine = Machine::this()?;
    let is_whole = names.is_empty();
    let measured = measure(names)?;
    print!("\n{}", report::text(&measured));
    report::write_json(&measured, Path::new(JSON))?;
    if is_whole {
        report::write_page(&measured, &machine, Path::new(PAGE))?;
    }
    Ok(measured.iter().all(|measurement| measurement.figures.is_ok()))
}

/// What there is to do for all of them, in order.
fn steps() -> impl Iterator<Item = &'static Step> {
    let data_plane = overlay::STEPS.iter().chain(&ports::STEPS).chain(&pings::STEPS);
    data_plane
        .chain(&moves::STEPS)
        .chain(&containers::STEPS)
        .chain(&create::STEPS)
        .chain(&signed::STEPS)
        .chain(&foreign::STEPS)
        .chain(&clients::STEPS)
        .chain(&many::STEPS)
}

/// Each group has labs of its own, so that none is measured on what another left.
fn measure(names: Vec<String>) -> Result<Vec<Measurement>> {
    let mut session = Session::new(names, steps());
    session.group(&overlay::STEPS, overlay::measure)?;
    session.group(&ports::STEPS, ports::measure)?;
    session.group(&pings::STEPS, pings::measure)?;
    session.group(&moves::STEPS, moves::measure)?;
    session.group(&containers::STEPS, containers::measure)?;
    session.group(&create::STEPS, create::measure)?;
    session.group(&signed::STEPS, signed::measure)?;
    session.group(&foreign::STEPS, foreign::measure)?;
    session.group(&clients::STEPS, clients::measure)?;
    session.group(&many::STEPS, many::measure)?;
    let mut measured = session.into_measurements();
    measured.sort_by_key(|one| BENCHMARKS.iter().position(|benchmark| benchmark.name == one.benchmark.name));
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_benchmark_is_measured_by_some_step() {
        let names: BTreeSet<_> = steps().flat_map(|step| step.names).copied().collect();
        assert_eq!(names, BENCHMARKS.iter().map(|benchmark| benchmark.name).collect());
    }
}
