use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use privnet_server::{AuditConfig, Limits};

use crate::exit::Failure;
use crate::settings::{HumanDuration, Settings};

/// What the settings say that the API takes from its clients.
pub(super) fn limits(settings: &Settings) -> Result<Limits, Failure> {
    Ok(Limits {
        connections_max: count::<1, 1_000_000>(settings, "connections-max")?,
        connections_per_address_max: count::<1, 1_000_000>(settings, "connections-per-address-max")?,
        requests_max: count::<1, 1_000_000>(settings, "requests-max")?,
        head_bytes_max: count::<8192, 1_048_576>(settings, "head-bytes-max")?,
        headers_max: count::<1, 1000>(settings, "headers-max")?,
        body_bytes_max: count::<1, 1_073_741_824>(settings, "body-bytes-max")?,
        bodies_bytes_max: bodies_bytes_max(settings)?,
        organization_requests_per_second: rate(settings, "organization-requests-per-second")?,
        address_requests_per_second: rate(settings, "address-requests-per-second")?,
        idle_timeout: timeout(settings, "idle-timeout")?,
        head_timeout: timeout(settings, "head-timeout")?,
        body_timeout: timeout(settings, "body-timeout")?,
        request_timeout: request_timeout(settings)?,
        send_timeout: timeout(settings, "send-timeout")?,
        stop_timeout: timeout(settings, "stop-timeout")?,
    })
}

/// What the settings say of the audit log.
pub(super) fn audit(settings: &Settings) -> Result<AuditConfig, Failure> {
    let days = number::<1, 36_500>(settings, "audit-days")?;
    let events_max = number::<1, 1_000_000_000>(settings, "audit-events-max")?;
    Ok(AuditConfig { age_max: Duration::from_secs(u64::from(days) * 86_400), events_max: events_max.into() })
}

/// For how long an expired signature is still good. Signatures expire in whole seconds, and one that is good for
/// long after is as good as one that never expires.
pub(super) fn leeway(settings: &Settings) -> Result<Duration, Failure> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let (name, HumanDuration(leeway)) = ("auth-leeway", settings.require("auth-leeway")?);
    match leeway <= LONGEST && leeway.subsec_nanos() == 0 {
        true => Ok(leeway),
        false => Err(settings.refuse(name, format_args!("must be whole seconds, 0s to {}s", LONGEST.as_secs()))),
    }
}

/// An answer that is held back for the hosts must not count as one that takes too long.
fn request_timeout(settings: &Settings) -> Result<Duration, Failure> {
    let (name, HumanDuration(hold)) = ("request-timeout", settings.require("operation-hold")?);
    let timeout = timeout(settings, name)?;
    match timeout > hold {
        true => Ok(timeout),
        false => Err(settings.refuse(name, format_args!("must be longer than operation-hold, which is {hold:?}"))),
    }
}

/// What one body may have, all may have together.
fn bodies_bytes_max(settings: &Settings) -> Result<usize, Failure> {
    let (name, of_one) = ("bodies-bytes-max", settings.require::<String>("body-bytes-max")?);
    let of_all = count::<1, { u32::MAX }>(settings, name)?;
    match of_all >= count::<1, 1_073_741_824>(settings, "body-bytes-max")? {
        true => Ok(of_all),
        false => Err(settings.refuse(name, format_args!("must be at least body-bytes-max, which is {of_one}"))),
    }
}

fn timeout(settings: &Settings, name: &str) -> Result<Duration, Failure> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let HumanDuration(timeout) = settings.require(name)?;
    match (Duration::from_millis(1)..=LONGEST).contains(&timeout) {
        true => Ok(timeout),
        false => Err(settings.refuse(name, format_args!("must be 1ms to {}s", LONGEST.as_secs()))),
    }
}

/// A number of requests per second, of which zero is any.
fn rate(settings: &Settings, name: &str) -> Result<Option<NonZeroU32>, Failure> {
    number::<0, 1_000_000>(settings, name).map(NonZeroU32::new)
}

fn count<const MIN: u32, const MAX: u32>(settings: &Settings, name: &str) -> Result<usize, Failure> {
    number::<MIN, MAX>(settings, name).map(|number| number as usize)
}

fn number<const MIN: u32, const MAX: u32>(settings: &Settings, name: &str) -> Result<u32, Failure> {
    settings.require(name).map(|Number::<MIN, MAX>(number)| number)
}

/// A whole number of a range.
struct Number<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> FromStr for Number<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or_else(|| format!("a whole number from {MIN} to {MAX} is expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[(&str, &str)]) -> Settings {
        let flag = |name: &str| flags.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
        Settings::load(flag, |_| None, Some("/dev/null".into()), false).expect("texts")
    }

    fn limits_with(flags: &[(&str, &str)]) -> Result<Limits, String> {
        limits(&settings(flags)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_server() {
        assert_eq!(limits_with(&[]), Ok(Limits::DEFAULT));
        assert_eq!(audit(&settings(&[])).ok(), Some(AuditConfig::DEFAULT));
    }

    #[test]
    fn signatures_live_on_for_whole_seconds_and_an_hour_at_most() {
        let with = |text: &str| leeway(&settings(&[("auth-leeway", text)])).map_err(|failure| failure.to_string());
        assert_eq!(leeway(&settings(&[])).ok(), Some(Duration::from_secs(60)), "the default");
        for (text, seconds) in [("0s", 0), ("2000ms", 2), ("3600s", 3600)] {
            assert_eq!(with(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["500ms", "1500ms", "3601s", "18446744073709551615s"] {
            let why = "must be whole seconds, 0s to 3600s";
            assert_eq!(with(text), Err(format!("auth-leeway = \"{text}\" (flag --auth-leeway): {why}")));
        }
    }

    #[test]
    fn no_limit_on_requests_is_zero() {
        assert_eq!(
            limits_with(&[("organization-requests-per-second", "0")]).expect("valid").organization_requests_per_second,
            None
        );
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (name, text, why) in [
            ("connections-max", "0", "a whole number from 1 to 1000000 is expected"),
            ("head-bytes-max", "8191", "a whole number from 8192 to 1048576 is expected"),
            ("organization-requests-per-second", "-1", "a whole number from 0 to 1000000 is expected"),
            ("head-timeout", "0s", "must be 1ms to 86400s"),
            ("stop-timeout", "86401s", "must be 1ms to 86400s"),
            ("bodies-bytes-max", "1048575", "must be at least body-bytes-max, which is 1048576"),
            ("request-timeout", "250ms", "must be longer than operation-hold, which is 250ms"),
        ] {
            assert_eq!(limits_with(&[(name, text)]), Err(format!("{name} = \"{text}\" (flag --{name}): {why}")));
        }
    }
}
