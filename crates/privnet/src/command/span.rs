//! Spans of time as people write them.

use jiff::SignedDuration;

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
