use jiff::Timestamp;
use serde_json::Value;

use super::Context;
use super::span::span;
use crate::args::AuditArgs;
use crate::client::{escaped, list, text};
use crate::exit::{Exit, Failure};
use crate::output::table;

pub(super) fn run(args: &AuditArgs, context: &Context) -> Result<(), Failure> {
    let now = Timestamp::now();
    let from = moment("since", Some(&args.since), now)?;
    let to = moment("until", args.until.as_ref(), now)?;
    let arguments =
        [("from", from), ("to", to), ("organization", args.organization.clone()), ("key", args.key.clone())];
    let arguments: Vec<_> =
        arguments.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_ref()?)))).collect();
    let answer = context.client.get(&format!("/privnet/v1/events?{}", arguments.join("&")))?;
    context.output.print(&answer, || describe(list(&answer, "events")))
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

    #[test]
    fn a_result_says_why_or_what_and_how_often() {
        assert_eq!(result(&json!({"operation": "o", "times": 1}), 200), "200 o");
        assert_eq!(result(&json!({"times": 1}), 204), "204");
        assert_eq!(result(&json!({"message": "no", "times": 7}), 403), "403 no (7 times)");
    }
}
