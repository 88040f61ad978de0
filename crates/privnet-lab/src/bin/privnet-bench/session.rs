//! One run of this program: which benchmarks are wanted, what has been measured, and how long is left.

use std::time::{Duration, Instant};

use anyhow::Result;
use privnet_lab::check_interrupts;

use crate::report::Measurement;

/// Work that is told of when it begins: it measures benchmarks, or prepares what several of them need.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    /// It is done if one of these is wanted.
    pub(crate) names: &'static [&'static str],
    /// How long it takes on two cores of a few years' age, to tell how long is left.
    pub(crate) seconds: u32,
}

/// A run of this program.
#[derive(Debug)]
pub(crate) struct Session {
    /// All if there are none.
    names: Vec<String>,
    measurements: Vec<Measurement>,
    /// Steps that are wanted and have not begun.
    waiting: Vec<&'static Step>,
    steps: usize,
    /// How long the steps before took, and how long they were to take.
    spent: (Duration, Duration),
}

impl Session {
    /// A run that measures these benchmarks, all if there are none, by these steps.
    pub(crate) fn new(names: Vec<String>, steps: impl IntoIterator<Item = &'static Step>) -> Self {
        let mut session =
            Self { names, measurements: Vec::new(), waiting: Vec::new(), steps: 0, spent: Default::default() };
        session.waiting = steps.into_iter().filter(|step| session.wants(step)).collect();
        session.steps = session.waiting.len();
        session
    }

    /// Whether something is wanted that needs this step.
    pub(crate) fn wants(&self, step: &Step) -> bool {
        step.names.iter().any(|name| self.wants_name(name))
    }

    fn wants_name(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    /// What has been measured.
    pub(crate) fn into_measurements(self) -> Vec<Measurement> {
        self.measurements
    }

    /// Does what belongs together, unless none of it is wanted. When it cannot go on, the benchmarks of its
    /// steps that have not been measured by then have failed.
    ///
    /// # Errors
    /// The user wants an end.
    pub(crate) fn group(&mut self, steps: &[Step], work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if !steps.iter().any(|step| self.wants(step)) {
            return Ok(());
        }
        let Err(error) = work(self) else { return Ok(()) };
        check_interrupts()?;
        eprintln!("  cannot go on: {error:#}");
        self.waiting.retain(|waiting| steps.iter().all(|step| step.what != waiting.what));
        steps.iter().for_each(|step| self.fail(step, &error));
        Ok(())
    }

    /// Measures what a step measures, if that is wanted. What fails does not stop the rest.
    ///
    /// # Errors
    /// The user wants an end.
    pub(crate) fn measure(
        &mut self,
        step: &'static Step,
        work: impl FnOnce() -> Result<Vec<Measurement>>,
    ) -> Result<()> {
        if !self.wants(step) {
            return Ok(());
        }
        match self.timed(step, work) {
            Ok(measured) => {
                let wanted = measured.into_iter().filter(|one| self.wants_name(one.benchmark.name));
                self.measurements.extend(wanted.collect::<Vec<_>>());
            }
            Err(error) => {
                check_interrupts()?;
                eprintln!("  failed: {error:#}");
                self.fail(step, &error);
            }
        }
        Ok(())
    }

    /// Prepares what several steps need.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn prepare<T>(&mut self, step: &'static Step, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.timed(step, work)
    }

    fn timed<T>(&mut self, step: &'static Step, work: impl FnOnce() -> T) -> T {
        self.waiting.retain(|waiting| waiting.what != step.what);
        let left: u32 = self.waiting.iter().map(|step| step.seconds).sum::<u32>() + step.seconds;
        let left = time_left(self.spent, Duration::from_secs(left.into()));
        eprintln!("[{}/{}] {}; {} left", self.steps - self.waiting.len(), self.steps, step.what, readable(left));
        let started = Instant::now();
        let done = work();
        self.spent.0 += started.elapsed();
        self.spent.1 += Duration::from_secs(step.seconds.into());
        done
    }

    /// Notes why the wanted benchmarks of a step that were not measured could not be.
    fn fail(&mut self, step: &Step, error: &anyhow::Error) {
        for name in step.names.iter().filter(|name| self.wants_name(name)).copied().collect::<Vec<_>>() {
            if self.measurements.iter().all(|measurement| measurement.benchmark.name != name) {
                self.measurements.push(Measurement::failed(name, error));
            }
        }
    }
}

/// How long steps take that were said to take so long, by how long those before took and were said to.
fn time_left((took, said): (Duration, Duration), left: Duration) -> Duration {
    if said.is_zero() { left } else { left.mul_f64(took.div_duration_f64(said)) }
}

fn readable(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    static STREAM: Step = Step { what: "a stream", names: &["tcp_stream", "tcp_stream_cpu"], seconds: 10 };
    static ATTACH: Step = Step { what: "attaches", names: &["attach_p50", "attach_p99"], seconds: 20 };
    static STEPS: [&Step; 2] = [&STREAM, &ATTACH];

    fn session(names: &[&str]) -> Session {
        Session::new(names.iter().map(|name| (*name).to_owned()).collect(), STEPS)
    }

    /// The benchmarks that have a result, and whether they have failed.
    fn results(session: Session) -> Vec<(&'static str, bool)> {
        let measurements = session.into_measurements();
        measurements.iter().map(|one| (one.benchmark.name, one.figures.is_err())).collect()
    }

    fn measured() -> Result<Vec<Measurement>> {
        Ok(vec![Measurement::alone("attach_p50", 1.0, (1.0, 1.0))])
    }

    fn measured_with_more() -> Result<Vec<Measurement>> {
        Ok([measured()?, vec![Measurement::alone("attach_p99", 2.0, (2.0, 2.0))]].concat())
    }

    #[test]
    fn the_time_left_follows_how_long_the_steps_before_have_taken() {
        let seconds = Duration::from_secs;
        assert_eq!(time_left((seconds(0), seconds(0)), seconds(60)), seconds(60));
        assert_eq!(time_left((seconds(30), seconds(20)), seconds(60)), seconds(90));
        assert_eq!(readable(seconds(59)), "59 s");
        assert_eq!(readable(seconds(125)), "2 min 05 s");
    }

    #[test]
    fn only_what_is_wanted_is_done() {
        let mut session = session(&["attach_p50"]);
        assert_eq!(session.waiting.len(), 1);
        session.measure(&STREAM, || panic!("not wanted")).expect("not interrupted");
        session.measure(&ATTACH, measured_with_more).expect("not interrupted");
        assert!(session.waiting.is_empty());
        assert_eq!(results(session), [("attach_p50", false)]);
    }

    #[test]
    fn a_step_that_fails_says_so_in_its_wanted_rows_and_the_others_go_on() {
        let mut session = session(&["tcp_stream", "attach_p50"]);
        session.measure(&STREAM, || Err(anyhow!("broken"))).expect("not interrupted");
        session.measure(&ATTACH, measured).expect("not interrupted");
        assert_eq!(results(session), [("tcp_stream", true), ("attach_p50", false)]);
    }

    #[test]
    fn a_group_that_cannot_go_on_fails_what_it_has_not_measured() {
        let mut session = session(&[]);
        let steps = [
            Step { what: "attaches", names: &["attach_p50", "attach_p99"], seconds: 1 },
            Step { what: "a stream", names: &["tcp_stream"], seconds: 1 },
        ];
        let work = |session: &mut Session| {
            session.measure(&ATTACH, measured)?;
            Err(anyhow!("broken"))
        };
        session.group(&steps, work).expect("not interrupted");
        assert!(session.waiting.is_empty());
        assert_eq!(results(session), [("attach_p50", false), ("attach_p99", true), ("tcp_stream", true)]);
    }
}
