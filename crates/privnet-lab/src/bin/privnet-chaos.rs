//! `privnet-chaos`: a lab under a plan of everything that goes wrong, see `privnet_lab::chaos`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use privnet_lab::chaos::{Chaos, run};

const USAGE: &str = "\
Runs a lab of several hosts in which everything goes wrong, and checks after each step that all is right
again. Needs root; drives the privnet binary beside this one.

Usage: privnet-chaos [--seed N] [--minutes M] [--hosts H] [--steps S] [--keep]

  --seed N      what happens is made from this number alone; default: a random one, which is printed
  --minutes M   no step begins after so many minutes; default 5
  --hosts H     how many hosts, 2 to 8; default 3
  --steps S     no more steps than this; default: as many as there is time for
  --keep        leave the lab of a failure as it is, to be looked at, until Ctrl-C

A step is a burst of requests by several clients at once (networks, instances, moves, attaches, addresses),
with upsets between them: agents and the server are killed, stopped, paused and started, streams and links
cut, hosts rebooted, taken for lost and invited anew, certificates replaced, disks filled, namespaces
removed; devices, filters, map entries and pins are changed by hand. Then all of that is put right, and the
invariants of ARCHITECTURE.md are checked, which are cited by number: what was acknowledged is there, every
operation has ended, every host's kernel has what is wanted, what is not ours is untouched, the members of
each network reach each other and nobody else, DHCP gives each port its own lease. During all of it every
instance sends and receives: no frame may cross from one network to another, no forged one may leave, and
between ports that no upset concerns none may be lost. Hosts join as they do elsewhere, and reach the server
by TLS alone.

The first step that does not hold ends the run, with its events, what was found, the ends of the logs and
the command that runs the same plan again. The plan is the same; how its events meet is up to the
machine, so run it several times.

Example: privnet-chaos --seed 7 --minutes 5
";

fn main() -> ExitCode {
    let chaos = match parse(std::env::args().skip(1)) {
        Ok(Some(chaos)) => chaos,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error:#}; privnet-chaos --help tells more");
            return ExitCode::from(2);
        }
    };
    match privnet_lab::catch_interrupts().and_then(|()| run(&chaos)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `None` when only help is wanted.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Chaos>> {
    let mut chaos = Chaos {
        seed: rand::random(),
        duration: Duration::from_secs(5 * 60),
        steps: usize::MAX,
        hosts: 3,
        is_kept: false,
        binary: None,
    };
    while let Some(flag) = words.next() {
        let mut number = || -> Result<u64> {
            let word = words.next().with_context(|| format!("{flag} needs a number"))?;
            word.parse().with_context(|| format!("{flag} {word:?}: not a whole number"))
        };
        match &*flag {
            "--help" | "-h" => return Ok(None),
            "--seed" => chaos.seed = number()?,
            "--minutes" => chaos.duration = Duration::from_secs(number()?.saturating_mul(60)),
            "--steps" => chaos.steps = number()?.try_into()?,
            "--hosts" => match number()? {
                hosts @ 2..=8 => chaos.hosts = hosts as u8,
                hosts => bail!("--hosts {hosts}: 2 to 8 are possible"),
            },
            "--keep" => chaos.is_kept = true,
            other => bail!("there is no flag {other:?}"),
        }
    }
    Ok(Some(chaos))
}
