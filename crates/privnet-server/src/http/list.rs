//! Lists of any length, in parts: each is made when the one before has been sent, from the zone as
//! it is then. What is there all the time is told exactly once.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use privnet_api::{InstanceFilter, reply};
use privnet_model::zone::Caller;
use privnet_model::{Instance, InstanceId, NetworkId};
use serde::Serialize;

use super::body::Body;
use super::host_name;
use crate::engine::{Engine, Page, fill};

pub(super) fn networks(engine: Engine, caller: Caller) -> Body {
    list("private-networks", NetworkId::MIN, move |from| engine.page(caller, from))
}

pub(super) fn instances(engine: Engine, caller: Caller, filter: InstanceFilter) -> Body {
    list("instances", InstanceId::MIN, move |from| {
        let zone = engine.view();
        let addresses = |id| zone.ports_of_instance(id).filter_map(|port| Some(port.lease?.address));
        let instances = zone.seen_by(caller).instances_from(from);
        page(instances.filter(|instance| filter.fits(instance, addresses(instance.id))), |json, instance| {
            let ports = zone.ports_of_instance(instance.id).map(AsRef::as_ref);
            write(json, &reply::ListedInstance::new(instance, ports));
        })
    })
}

/// Those of all organizations.
pub(super) fn placed_instances(engine: Engine) -> Body {
    list("instances", InstanceId::MIN, move |from| {
        let zone = engine.view();
        page(zone.instances_from(from), |json, instance| {
            let ports = zone.ports_of_instance(instance.id).map(AsRef::as_ref);
            write(json, &reply::PlacedInstance::new(instance, host_name(&zone, instance), ports));
        })
    })
}

fn page<'z>(
    instances: impl Iterator<Item = &'z Arc<Instance>>,
    write: impl Fn(&mut Vec<u8>, &'z Arc<Instance>),
) -> Page<InstanceId> {
    let (json, rest) = fill(instances, write);
    Page { json: json.into(), next: rest.map(|instance| instance.id) }
}

fn write(json: &mut Vec<u8>, item: &impl Serialize) {
    serde_json::to_writer(json, item).expect("replies have only texts, numbers and lists of them");
}

/// An object whose one property is the list that the pages make together.
fn list<Id: Send + 'static>(property: &'static str, first: Id, page: impl Fn(Id) -> Page<Id> + Send + 'static) -> Body {
    let mut coming = Some(first);
    let mut is_first = true;
    let items = std::iter::from_fn(move || {
        let Page { mut json, next } = page(coming.take()?);
        coming = next;
        if is_first && !json.is_empty() {
            is_first = false;
            json.advance(1);
        }
        Some(json)
    });
    let head = std::iter::once(Bytes::from(format!("{{\"{property}\":[")));
    let tail = std::iter::once(Bytes::from_static(b"]}"));
    Body::Parts(Box::new(head.chain(items).chain(tail)))
}
