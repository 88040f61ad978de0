//! The audit log, as organizations and as operators read it.

use std::time::Duration;

use hyper::StatusCode;
use privnet_api::{EventFilter, reply};
use privnet_model::zone::Caller;
use privnet_model::{Event, Timestamp, with_causes};
use privnet_store::{EventQuery, LoggedEvent};

use super::body::Body;
use super::{Refused, json};
use crate::audit::ReadError;
use crate::engine::{Engine, now};

/// How far back somebody sees who does not say how far, as on Exoscale.
const USUAL_SPAN: Duration = Duration::from_secs(86_400);

/// How many events one answer has at most.
const EVENTS_MAX: usize = 1000;

/// What the caller's organization may read, in Exoscale's shape.
pub(super) async fn of_organization(
    engine: Engine,
    filter: &EventFilter,
    caller: Caller,
    zone_name: &str,
) -> Result<Body, Refused> {
    let query =
        EventQuery { organization: Some(caller.organization()), key: None, before: None, ..query(filter, now()) };
    let events = read(&engine, query).await?;
    let zone = engine.view();
    let key_name = |event: &Event| Some(zone.key(event.key?)?.name.as_str());
    let events = events.iter().map(|logged| &logged.event);
    Ok(json(&events.map(|event| reply::Event::new(event, key_name(event), zone_name)).collect::<Vec<_>>()))
}

/// What operators may read.
pub(super) async fn of_all(engine: Engine, filter: &EventFilter) -> Result<Body, Refused> {
    let events = read(&engine, query(filter, now())).await?;
    let events = events.iter().map(|logged| reply::LogEntry::new(logged.number, &logged.event)).collect();
    Ok(json(&reply::LogEntries { events }))
}

fn query(filter: &EventFilter, now: Timestamp) -> EventQuery {
    let EventFilter { from, to, organization, key, before } = *filter;
    let span_ms = USUAL_SPAN.as_millis() as u64;
    let usual_from = Timestamp::from_unix_ms(to.unwrap_or(now).unix_ms.saturating_sub(span_ms));
    EventQuery {
        from: from.unwrap_or(usual_from),
        to: to.unwrap_or(Timestamp::from_unix_ms(u64::MAX)),
        organization,
        key,
        before,
        count_max: EVENTS_MAX,
    }
}

async fn read(engine: &Engine, query: EventQuery) -> Result<Vec<LoggedEvent>, Refused> {
    engine.log().read(query).await.map_err(|error| match error {
        ReadError::Busy => Refused::busy(error),
        ReadError::Store(cause) => {
            let told = "the audit log cannot be read now; try again later".into();
            Refused { told: Some(told), ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, with_causes(&cause)) }
        }
    })
}
