use std::net::IpAddr;

use privnet_model::{EventText, KeyId, OperationId, OrganizationId, Timestamp};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// A change that somebody has made, or was refused to, in the shape of Exoscale's audit trail
/// (community.exoscale.com/reference/api/audit-trail/event).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "event")]
pub struct Event<'a> {
    /// When it was decided.
    #[serde(serialize_with = "rfc3339_ms")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    timestamp: Timestamp,
    /// The address of the client.
    source_ip: IpAddr,
    /// What the request was signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    iam_api_key: Option<EventKey<'a>>,
    /// The `operationId` of what was asked for.
    handler: &'a str,
    /// The path of the request.
    uri: &'a str,
    /// The HTTP status of the answer.
    #[schemars(range(min = 100, max = 599))]
    status: u16,
    /// The operation that it was answered with.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "String")]
    request_id: Option<OperationId>,
    /// Why it was refused, and how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The zone.
    zone: &'a str,
}

/// A key as an event names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "event-key")]
pub struct EventKey<'a> {
    /// Its id.
    #[serde(serialize_with = "super::network::as_text")]
    #[schemars(with = "String")]
    key: KeyId,
    /// Its name; absent when there is no such key any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event of a zone, and the name of its key.
    pub fn new(event: &'a privnet_model::Event, key_name: Option<&'a str>, zone: &'a str) -> Self {
        Self {
            timestamp: event.at,
            source_ip: event.source,
            iam_api_key: event.key.map(|key| EventKey { key, name: key_name }),
            handler: &event.call,
            uri: event.path.as_str(),
            status: event.status,
            request_id: event.operation,
            message: message(event),
            zone,
        }
    }
}

/// The shape has no place for a number of times but this.
fn message(event: &privnet_model::Event) -> Option<String> {
    let message = event.message.as_ref().map(EventText::as_str);
    match event.times.get() {
        1 => message.map(str::to_owned),
        times => Some(format!("{} ({times} times)", message.unwrap_or_default())),
    }
}

/// The audit log as operators read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "log-entries")]
pub struct LogEntries<'a> {
    /// In the order in which they have happened.
    pub events: Vec<LogEntry<'a>>,
}

/// An event with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "log-entry")]
pub struct LogEntry<'a> {
    /// Rises from event to event. With that of the first as `before`, those before it are asked for.
    #[schemars(range(min = 0))]
    number: u64,
    /// When it was decided.
    #[serde(serialize_with = "rfc3339_ms")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// The address of the client.
    source: IpAddr,
    /// What the request was signed with; absent where it was not, or where that proves nothing.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "String")]
    key: Option<KeyId>,
    /// Whose network or instance it was about; absent where that is nobody's.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    organization: Option<OrganizationId>,
    /// The `operationId` of what was asked for.
    call: &'a str,
    /// The path of the request.
    path: &'a str,
    /// The HTTP status of the answer.
    status: u16,
    /// The operation that it was answered with.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    operation: Option<OperationId>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// How often: refusals alike within a minute are gathered.
    #[schemars(range(min = 1))]
    times: u32,
}

impl<'a> LogEntry<'a> {
    /// An event and its number in the log.
    pub fn new(number: u64, event: &'a privnet_model::Event) -> Self {
        Self {
            number,
            at: event.at,
            source: event.source,
            key: event.key,
            organization: event.organization,
            call: &event.call,
            path: event.path.as_str(),
            status: event.status,
            operation: event.operation,
            message: event.message.as_ref().map(EventText::as_str),
            times: event.times.get(),
        }
    }
}

fn optional_text<S: Serializer>(value: &Option<impl std::fmt::Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// RFC 3339 in UTC with milliseconds.
fn rfc3339_ms<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let ms = i64::try_from(moment.unix_ms).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    serializer.collect_str(&moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use serde_json::json;

    use super::*;

    fn event() -> privnet_model::Event {
        privnet_model::Event {
            at: Timestamp::from_unix_ms(1_790_000_000_007),
            source: [192, 0, 2, 1].into(),
            key: Some(KeyId::from_bytes([1; KeyId::OCTETS])),
            organization: Some(OrganizationId::DEFAULT),
            call: "create-private-network".into(),
            path: EventText::cut("/v2/private-network"),
            status: 200,
            operation: Some("0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50".parse().expect("an id")),
            message: None,
            times: NonZeroU32::MIN,
        }
    }

    fn json(value: impl Serialize) -> serde_json::Value {
        serde_json::to_value(value).expect("serializes")
    }

    #[test]
    fn an_event_has_the_shape_of_the_audit_trail() {
        assert_eq!(
            json(Event::new(&event(), Some("deploy"), "ch-dk-2")),
            json!({
                "timestamp": "2026-09-21T14:13:20.007Z",
                "source-ip": "192.0.2.1",
                "iam-api-key": {"key": "EXO010101010101010101010101", "name": "deploy"},
                "handler": "create-private-network",
                "uri": "/v2/private-network",
                "status": 200,
                "request-id": "0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50",
                "zone": "ch-dk-2",
            })
        );
    }

    #[test]
    fn refusals_alike_say_how_many_they_are() {
        let refused = privnet_model::Event {
            status: 403,
            operation: None,
            key: None,
            organization: None,
            message: Some(EventText::cut("no")),
            times: NonZeroU32::new(7).expect("not zero"),
            ..event()
        };
        assert_eq!(json(Event::new(&refused, None, "z"))["message"], "no (7 times)");
        assert_eq!(
            json(LogEntry::new(12, &refused)),
            json!({
                "number": 12,
                "at": "2026-09-21T14:13:20.007Z",
                "source": "192.0.2.1",
                "call": "create-private-network",
                "path": "/v2/private-network",
                "status": 403,
                "message": "no",
                "times": 7,
            })
        );
    }
}
