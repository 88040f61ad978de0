//! Spans of time as people write them.

use jiff::SignedDuration;

use crate::exit::{Exit, Failure};

/// A number with s, m, h or d, such as 90s or 7d.
pub(super) fn span(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(SignedDuration::from_secs(i64::from(number.parse::<u32>().ok()?) * seconds))
}

/// How long `--expires-in` says that something is good.
pub(super) fn lifetime_seconds(text: &str) -> Result<i64, Failure> {
    let rule = "a duration such as 90s, 15m, 12h or 90d is expected";
    let lifetime = span(text).ok_or_else(|| Failure::say(Exit::Usage, format_args!("--expires-in {text}: {rule}")));
    lifetime.map(|lifetime| lifetime.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_told_in_seconds() {
        assert_eq!(lifetime_seconds("90d").ok(), Some(7_776_000));
        let refused = lifetime_seconds("soon").expect_err("no duration").to_string();
        assert_eq!(refused, "--expires-in soon: a duration such as 90s, 15m, 12h or 90d is expected");
    }
}
