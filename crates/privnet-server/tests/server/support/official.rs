//! What Exoscale's own document says of the operations that we serve, and what its clients cannot do without.

use std::sync::LazyLock;

use serde_json::Value;

use super::schema::check;

/// The facts of Exoscale's document; `scripts/official-shape` makes them.
pub(crate) static OFFICIAL: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../official.json")).expect("the facts are JSON"));

const OPERATION: &[&str] = &["id", "state"];
/// What a new private network or instance is found by.
const OPERATION_WITH_REFERENCE: &[&str] = &["id", "state", "reference/id", "reference/link", "reference/command"];

/// By operation, what its clients read without looking whether it is there: `*` is each item of a list, `?` goes on
/// only where there is such a property. Where it is not, one of them panics, fails, or plans a change for ever.
const DEREFERENCED: &[(&str, &[&str])] = &[
    // All clients look for their zone, and send everything else to its endpoint.
    ("list-zones", &["zones/*/name", "zones/*/api-endpoint"]),
    ("list-private-networks", &["private-networks/*/id", "private-networks/*/name"]),
    // Terraform's data source and exo show both sides of a lease.
    ("get-private-network", &["id", "name", "?leases/*/ip", "?leases/*/instance-id"]),
    // exo and Terraform take the new id from the first answer.
    ("create-private-network", OPERATION_WITH_REFERENCE),
    ("update-private-network", OPERATION_WITH_REFERENCE),
    ("delete-private-network", OPERATION),
    ("reset-private-network-field", OPERATION),
    ("attach-instance-to-private-network", OPERATION),
    ("detach-instance-from-private-network", OPERATION),
    ("update-private-network-instance-ip", OPERATION),
    ("create-instance", OPERATION_WITH_REFERENCE),
    ("update-instance", OPERATION),
    ("delete-instance", OPERATION),
    ("get-operation", OPERATION),
    ("list-instances", &["instances/*/id", "instances/*/name", "instances/*/instance-type/id", "instances/*/state"]),
    // exo shows an instance by these, Terraform reads it by them.
    (
        "get-instance",
        &[
            "id",
            "name",
            "state",
            "created-at",
            "disk-size",
            "public-ip-assignment",
            "instance-type/id",
            "template/id",
            "secureboot-enabled",
            "tpm-enabled",
            "?private-networks/*/id",
            "?private-networks/*/mac-address",
            "?ssh-keys/*/name",
        ],
    ),
    ("list-instance-types", &["instance-types/*/id", "instance-types/*/family", "instance-types/*/size"]),
    ("get-instance-type", &["id", "family", "size", "cpus", "memory"]),
    ("list-templates", &["templates/*/id", "templates/*/name"]),
    ("get-template", &["id", "name"]),
    ("list-ssh-keys", &["ssh-keys/*/name"]),
    ("get-ssh-key", &["name"]),
    ("list-quotas", &["quotas/*/resource", "quotas/*/usage", "quotas/*/limit"]),
    ("list-security-groups", &["security-groups"]),
    ("list-anti-affinity-groups", &["anti-affinity-groups"]),
    ("list-elastic-ips", &["elastic-ips"]),
    ("list-deploy-targets", &["deploy-targets"]),
];

/// Holds a reply against Exoscale's document and what clients dereference, if the operation is one of theirs.
#[track_caller]
pub(super) fn check_reply(operation: &str, body: &Value) {
    let Some(described) = OFFICIAL["operations"].get(operation) else { return };
    check(body, &described["reply"], &OFFICIAL, operation);
    let paths = DEREFERENCED.iter().find(|(id, _)| *id == operation).map_or(&[][..], |(_, paths)| *paths);
    for path in paths {
        assert!(has(body, path), "{operation}: a client needs {path} of {body}");
    }
    // Every client shows why what was accepted did not work; python-exoscale fails without a reason.
    if matches!(body["state"].as_str(), Some("failure" | "timeout")) {
        assert!(body["reason"].is_string() && body["message"].is_string(), "{operation}: {body}");
    }
}

fn has(value: &Value, path: &str) -> bool {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (first, may_be_absent) = first.strip_prefix('?').map_or((first, false), |first| (first, true));
    let goes_on = |value| rest.is_none_or(|rest| has(value, rest));
    match first {
        "*" => value.as_array().is_some_and(|items| items.iter().all(goes_on)),
        property => value.get(property).map_or(may_be_absent, |value| !value.is_null() && goes_on(value)),
    }
}
