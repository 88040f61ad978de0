use std::collections::VecDeque;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::resolve::ORGANIZATION;
use super::span::span;
use crate::args::AuditArgs;
use crate::client::{escaped, list, text};
use crate::exit::{Exit, Failure};
use crate::output::table;

/// How many events are shown at most, as `--help` says.
const SHOWN_MAX: usize = 10_000;

pub(super) fn run(args: &AuditArgs, Context { client, output }: &Context) -> Result<(), Failure> {
    let now = Timestamp::now();
    let from = moment("since", Some(&args.since), now)?;
    let to = moment("until", args.until.as_ref(), now)?;
    let organization = args.organization.as_ref().map(|name| ORGANIZATION.id(client, name)).transpose()?;
    let arguments = [("from", from), ("to", to), ("organization", organization), ("key", args.key.clone())];
    let asked: String =
        arguments.iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(value.as_ref()?)))).collect();
    let page = |before: Option<u64>| {
        let before = before.map(|number| format!("&before={number}")).unwrap_or_default();
        client.get(&format!("/privnet/v1/events?{}", format!("{asked}{before}").trim_start_matches('&')))
    };
    let (events, are_all) = newest(SHOWN_MAX, page)?;
    output.print(&json!({"events": events}), || describe(&events))?;
    if !are_all {
        let more = format_args!("these are the newest {SHOWN_MAX}; --until TIME shows earlier ones");
        // Whether anybody can be told makes no difference to what is shown.
        let _ = writeln!(std::io::stderr(), "{more}");
    }
    Ok(())
}

/// The newest events, from the earliest of them on, and whether they are all that there are: one answer has a part
/// of them, and the last has none.
fn newest(
    count_max: usize,
    page: impl Fn(Option<u64>) -> Result<Value, Failure>,
) -> Result<(Vec<Value>, bool), Failure> {
    let mut pages = VecDeque::new();
    let (mut count, mut before) = (0, None);
    while count <= count_max {
        let answer = page(before)?;
        let events = list(&answer, "events").to_vec();
        let Some(number) = events.first().and_then(|first| first["number"].as_u64()) else { break };
        before = Some(number);
        count += events.len();
        pages.push_front(events);
    }
    let surplus = count.saturating_sub(count_max);
    Ok((pages.into_iter().flatten().skip(surplus).collect(), surplus == 0))
}

/// A moment as the API takes it: given itself, or by how long ago it was.
fn moment(flag: &str, text: Option<&String>, now: Timestamp) -> Result<Option<String>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let moment = span(text).and_then(|ago| now.checked_sub(ago).ok()).or_else(|| text.parse().ok());
    let Some(moment) = moment else {
        let rule = "a time such as 2026-11-24T12:00:00Z, or how long ago such as 90s, 15m, 24h or 7d, is expected";
        return Err(Failure::say(Exit::Usage, format_args!("--{flag} {text}: {rule}")));
    };
    Ok(Some(moment.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()))
}

fn describe(events: &[Value]) -> String {
    let row = |event: &Value| {
        let property = |key| text(event, key).to_owned();
        let status = event["status"].as_u64().unwrap_or_default();
        [property("at"), property("source"), property("key"), property("call"), property("path"), result(event, status)]
    };
    table(["TIME", "SOURCE", "KEY", "CALL", "PATH", "RESULT"], events.iter().map(row))
}

/// The operation of what was accepted, the reason of what was not, and how often where that was more than once.
fn result(event: &Value, status: u64) -> String {
    let what = if event.get("message").is_some() { text(event, "message") } else { text(event, "operation") };
    let times = match event["times"].as_u64() {
        Some(times @ 2..) => format!(" ({times} times)"),
        _ => String::new(),
    };
    format!("{status} {what}{times}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_given_or_how_long_ago_it_was() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        let check = |text: &str, expected: &str| {
            let moment = moment("since", Some(&text.to_owned()), now).ok().flatten();
            assert_eq!(moment.as_deref(), Some(expected), "{text}");
        };
        check("90s", "2026-11-24T11:58:30Z");
        check("15m", "2026-11-24T11:45:00Z");
        check("24h", "2026-11-23T12:00:00Z");
        check("7d", "2026-11-17T12:00:00Z");
        check("2026-11-24T12:00:00.5+01:00", "2026-11-24T11:00:00.5Z");
        for bad in ["", "h", "-1h", "yesterday", "1.5h", "1w", "é"] {
            let refused = moment("since", Some(&bad.to_owned()), now).expect_err("refused").to_string();
            assert!(refused.starts_with(&format!("--since {bad}: a time such as ")), "{refused}");
        }
    }

    /// A server that has so many events, and tells four at a time.
    fn newest_of(events: u64, count_max: usize) -> (Vec<u64>, bool) {
        let page = |before: Option<u64>| {
            let end = before.unwrap_or(events);
            let events: Vec<_> = (end.saturating_sub(4)..end).map(|number| json!({"number": number})).collect();
            Ok(json!({"events": events}))
        };
        let (events, are_all) = newest(count_max, page).expect("read");
        (events.iter().map(|event| event["number"].as_u64().expect("a number")).collect(), are_all)
    }

    #[test]
    fn all_events_are_asked_for_part_by_part_or_the_newest_of_them() {
        assert_eq!(newest_of(0, 10), (vec![], true));
        assert_eq!(newest_of(3, 10), ((0..3).collect(), true));
        assert_eq!(newest_of(8, 10), ((0..8).collect(), true));
        assert_eq!(newest_of(10, 10), ((0..10).collect(), true));
        assert_eq!(newest_of(11, 10), ((1..11).collect(), false));
        assert_eq!(newest_of(1000, 10), ((990..1000).collect(), false));
    }

    #[test]
    fn a_result_says_why_or_what_and_how_often() {
        assert_eq!(result(&json!({"operation": "o", "times": 1}), 200), "200 o");
        assert_eq!(result(&json!({"times": 1}), 204), "204");
        assert_eq!(result(&json!({"message": "no", "times": 7}), 403), "403 no (7 times)");
    }
}
