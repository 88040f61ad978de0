//! Our OpenAPI document beside Exoscale's own: each difference in what both describe, and why it is there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::official::OFFICIAL;
use crate::support::schema::{DOCUMENT, resolve};

/// What a schema says beside its members.
const FACTS: [&str; 8] = ["type", "format", "minLength", "maxLength", "minimum", "maximum", "pattern", "maxItems"];

/// Why something differs, and what. `*` stands for every property that only they have.
const DIFFERENCES: &[(&str, &[&str])] = &[
    (
        "The instance is found by its id, or not at all; a request without one is refused.",
        &[
            "attach-instance-to-private-network body.instance.id required: only ours",
            "detach-instance-from-private-network body.instance.id required: only ours",
            "update-private-network-instance-ip body.instance required: only ours",
        ],
    ),
    (
        "A client may send a whole instance. What is not its id is not looked at.",
        &["detach-instance-from-private-network body.instance.*: only theirs"],
    ),
    (
        "What an instance is made of is found by its id, or not at all.",
        &[
            "create-instance body.instance-type.id required: only ours",
            "create-instance body.ssh-key.name required: only ours",
            "create-instance body.template.id required: only ours",
        ],
    ),
    (
        "Everything has a limit.",
        &[
            "create-instance body.ssh-keys maxItems: ours 64, theirs null",
            "private-network-options.dns-servers maxItems: ours 63, theirs null",
            "private-network-options.ntp-servers maxItems: ours 63, theirs null",
            "private-network-options.routers maxItems: ours 63, theirs null",
            "register-ssh-key body.name maxLength: ours 255, theirs null",
        ],
    ),
    (
        "Empty user data are taken as none: with them, others are cleared.",
        &[
            "create-instance body.user-data minLength: ours null, theirs 1",
            "update-instance body.user-data minLength: ours null, theirs 1",
        ],
    ),
    (
        "Null is taken, as the description says. None of our schemas says so: no reply has a null.",
        &["update-instance body.labels nullable: ours null, theirs true"],
    ),
    (
        "Nothing connects an instance to anything but private networks: no firewall, no public address, no VPC. Taken \
         and ignored, so that a client that always sends it works.",
        &[
            "create-instance body.ip-forwarding: only theirs",
            "create-instance body.ipv6-enabled: only theirs",
            "create-instance body.security-groups: only theirs",
            "instance.elastic-ips: only theirs",
            "instance.ip-forwarding: only theirs",
            "instance.ipv6-address: only theirs",
            "instance.mac-address: only theirs",
            "instance.public-ip: only theirs",
            "instance.security-groups: only theirs",
            "instance.vpc: only theirs",
            "list-instances reply.instances[].ipv6-address: only theirs",
            "list-instances reply.instances[].mac-address: only theirs",
            "list-instances reply.instances[].public-ip: only theirs",
            "list-instances reply.instances[].security-groups: only theirs",
        ],
    ),
    (
        "An instance has no disk and no firmware, and nothing snapshots or boots it.",
        &[
            "create-instance body.application-consistent-snapshot-enabled: only theirs",
            "instance.application-consistent-snapshot-enabled: only theirs",
            "instance.disk-encrypted: only theirs",
            "instance.snapshots: only theirs",
            "start-instance body: only theirs",
            "update-instance body.application-consistent-snapshot-enabled: only theirs",
        ],
    ),
    (
        "An operator chooses a host by the label privnet/host; organizations do not see hosts. Of the two \
         that a body may have, a deploy target is refused.",
        &[
            "create-instance body.anti-affinity-groups: only theirs",
            "create-instance body.deploy-target: only theirs",
            "instance.anti-affinity-groups: only theirs",
            "instance.deploy-target: only theirs",
        ],
    ),
    (
        "There are no instance pools, so nothing manages an instance: such a list is empty, whatever the manager.",
        &[
            "instance.manager: only theirs",
            "list-instances query manager-id format: ours null, theirs \"uuid\"",
            "list-instances query manager-type enum: only theirs",
            "list-instances reply.instances[].manager: only theirs",
        ],
    ),
    (
        "By the id alone, as the real service answers; every client looks the rest up.",
        &[
            "instance.instance-type.*: only theirs",
            "instance.ssh-key.fingerprint: only theirs",
            "instance.template.*: only theirs",
        ],
    ),
    (
        "An instance runs or is stopped; in between, its operation is pending.",
        &[
            "instance.state enum, only theirs: destroyed destroying error expunging migrating starting stopping",
            "list-instances reply.instances[].state enum, only theirs: destroyed destroying error expunging migrating \
             starting stopping",
        ],
    ),
    (
        "The sizes are those of a catalogue; what is answered is held against their lists by every test.",
        &[
            "instance-type.cpus minimum: ours 0, theirs 1",
            "instance-type.family enum: only theirs",
            "instance-type.gpus: only theirs",
            "instance-type.memory minimum: ours 0, theirs 1",
            "instance-type.size enum: only theirs",
            "instance-type.zones: only theirs",
        ],
    ),
    (
        "A template is a name: there is no image behind it, and nobody's own. A filter that is not read filters nothing.",
        &[
            "list-templates query family: only theirs",
            "list-templates query visibility: only theirs",
            "template.application-consistent-snapshot-enabled: only theirs",
            "template.build: only theirs",
            "template.checksum: only theirs",
            "template.created-at: only theirs",
            "template.description maxLength: ours null, theirs 255",
            "template.family: only theirs",
            "template.maintainer: only theirs",
            "template.name maxLength: ours null, theirs 255",
            "template.name minLength: ours null, theirs 1",
            "template.password-enabled: only theirs",
            "template.ssh-key-enabled: only theirs",
            "template.url: only theirs",
            "template.version: only theirs",
            "template.visibility enum, only theirs: private",
        ],
    ),
    (
        "There are none, of any kind.",
        &[
            "list-anti-affinity-groups reply.anti-affinity-groups maxItems: ours 0, theirs null",
            "list-anti-affinity-groups reply.anti-affinity-groups[]: only theirs",
            "list-deploy-targets reply.deploy-targets maxItems: ours 0, theirs null",
            "list-deploy-targets reply.deploy-targets[]: only theirs",
            "list-elastic-ips reply.elastic-ips maxItems: ours 0, theirs null",
            "list-elastic-ips reply.elastic-ips[]: only theirs",
            "list-security-groups query visibility: only theirs",
            "list-security-groups reply.security-groups maxItems: ours 0, theirs null",
            "list-security-groups reply.security-groups[]: only theirs",
        ],
    ),
    (
        "Any name that a terminal can show, as of everything else. It has all of theirs.",
        &[
            "register-ssh-key body.name minLength: ours 1, theirs null",
            "register-ssh-key body.name pattern: ours null, theirs \"^[a-zA-Z0-9]{1}[a-zA-Z0-9._-]{0,254}$\"",
        ],
    ),
    ("Two things have quotas.", &["get-quota path entity enum: only ours", "quota.resource enum: only ours"]),
    (
        "The log keeps nothing of a body or a query, in which there are secrets; and roles and users are not theirs.",
        &[
            "event.body-params: only theirs",
            "event.elapsed-ms: only theirs",
            "event.get-params: only theirs",
            "event.iam-api-key.created-at: only theirs",
            "event.iam-api-key.role-id: only theirs",
            "event.iam-role: only theirs",
            "event.iam-user: only theirs",
            "event.path-params: only theirs",
        ],
    ),
    (
        "We say more exactly what is answered.",
        &[
            "event.source-ip format: ours \"ip\", theirs null",
            "event.status maximum: ours 599, theirs null",
            "event.status minimum: ours 100, theirs 1",
            "instance.private-networks[].mac-address pattern: ours \"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$\", theirs null",
            "list-instances reply.instances[].private-networks[].mac-address pattern: ours \
             \"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$\", theirs null",
            "private-network.vni maximum: ours 16777215, theirs null",
            "quota.limit minimum: ours -1, theirs null",
            "quota.usage minimum: ours 0, theirs null",
            "ssh-key.fingerprint pattern: ours \"^[0-9a-f]{2}(:[0-9a-f]{2}){15}$\", theirs null",
            "zone.api-endpoint format: ours \"uri\", theirs null",
        ],
    ),
    (
        "A zone is called what its operator likes, and there is no object storage.",
        &["zone.name enum: only theirs", "zone.sos-endpoint: only theirs"],
    ),
];

#[test]
fn each_difference_from_exoscales_document_has_a_reason() {
    let found = differences();
    let explanations: Vec<_> = DIFFERENCES.iter().flat_map(|(_, what)| *what).collect();
    let unexplained: Vec<_> = found.iter().filter(|one| !explanations.iter().any(|what| covers(what, one))).collect();
    assert!(unexplained.is_empty(), "without a reason:\n{unexplained:#?}");
    let stale: Vec<_> = explanations.iter().filter(|what| !found.iter().any(|one| covers(what, one))).collect();
    assert!(stale.is_empty(), "explained, but not there:\n{stale:#?}");
}

/// Whether an explanation is of this difference.
fn covers(explanation: &str, difference: &str) -> bool {
    match explanation.split_once('*') {
        Some((object, what)) => {
            let property = difference.strip_prefix(object).and_then(|rest| rest.strip_suffix(what));
            property.is_some_and(|property| !property.contains(['.', ' ', '[']))
        }
        None => explanation == difference,
    }
}

fn differences() -> BTreeSet<String> {
    let mut comparison = Comparison::default();
    for (id, theirs) in OFFICIAL["operations"].as_object().expect("operations") {
        comparison.operation(id, theirs);
    }
    comparison.found
}

/// Whether a schema is of what is sent or of what is answered.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Request,
    Reply,
}

#[derive(Default)]
struct Comparison {
    found: BTreeSet<String>,
    /// Pairs of named schemas that were compared.
    seen: BTreeSet<(String, String)>,
}

impl Comparison {
    fn note(&mut self, difference: String) {
        self.found.insert(difference);
    }

    fn operation(&mut self, id: &str, theirs: &Value) {
        let paths = DOCUMENT["paths"].as_object().expect("paths");
        let of_path = |(path, methods)| {
            let methods: &Value = methods;
            let methods = methods.as_object().expect("methods").iter();
            methods.map(move |(method, operation)| (path, method.to_uppercase(), operation)).collect::<Vec<_>>()
        };
        let ours = paths.iter().flat_map(of_path).find(|(_, _, operation)| operation["operationId"] == id);
        let (path, method, ours) = ours.expect("an operation that we serve");
        assert_eq!((&theirs["path"], &theirs["method"]), (&path.as_str().into(), &method.into()), "{id}");
        self.parameters(id, ours, theirs);
        let body = ours.pointer("/requestBody/content/application~1json/schema");
        self.optional(&format!("{id} body"), body, theirs.get("body"), Side::Request);
        let reply = &ours["responses"]["200"]["content"]["application/json"]["schema"];
        self.schema(&format!("{id} reply"), reply, &theirs["reply"], Side::Reply);
    }

    fn parameters(&mut self, id: &str, ours: &Value, theirs: &Value) {
        let ours = ours["parameters"].as_array().into_iter().flatten();
        let ours: Vec<_> = ours
            .map(|one| (format!("{} {}", one["in"].as_str().expect("in"), one["name"].as_str().expect("name")), one))
            .collect();
        let theirs = theirs["parameters"].as_object();
        let names = ours.iter().map(|(name, _)| name).chain(theirs.into_iter().flat_map(|theirs| theirs.keys()));
        for name in names.collect::<BTreeSet<_>>() {
            let own = ours.iter().find(|(own, _)| own == name).map(|(_, own)| &own["schema"]);
            let their = theirs.and_then(|theirs| theirs.get(name));
            self.optional(&format!("{id} {name}"), own, their, Side::Request);
        }
    }

    fn optional(&mut self, at: &str, ours: Option<&Value>, theirs: Option<&Value>, side: Side) {
        match (ours, theirs) {
            (None, None) => {}
            (Some(ours), Some(theirs)) => self.schema(at, ours, theirs, side),
            (Some(_), None) => self.note(format!("{at}: only ours")),
            (None, Some(_)) => self.note(format!("{at}: only theirs")),
        }
    }

    fn schema(&mut self, at: &str, ours: &Value, theirs: &Value, side: Side) {
        let name = |schema: &Value| Some(schema.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned());
        let at = match (name(ours), name(theirs)) {
            (Some(ours), Some(theirs)) if ours == theirs => theirs,
            _ => at.to_owned(),
        };
        let pair = (name(ours).unwrap_or_else(|| at.clone()), name(theirs).unwrap_or_else(|| at.clone()));
        if !self.seen.insert(pair) {
            return;
        }
        // Said beside the reference, if there is one.
        self.fact(&at, "nullable", ours, theirs);
        let (ours, theirs) = (resolve(ours, &DOCUMENT), resolve(theirs, &OFFICIAL));
        for fact in FACTS {
            self.fact(&at, fact, ours, theirs);
        }
        self.enumeration(&at, ours, theirs);
        self.required(&at, ours, theirs, side);
        self.optional(&format!("{at}[]"), ours.get("items"), theirs.get("items"), side);
        let open = |schema: &Value| schema.get("additionalProperties").filter(|more| more.is_object()).cloned();
        self.optional(&format!("{at}.*"), open(ours).as_ref(), open(theirs).as_ref(), side);
        for property in texts(&ours["properties"]).union(&texts(&theirs["properties"])) {
            let of = |schema: &Value| schema["properties"].get(property).cloned();
            self.optional(&format!("{at}.{property}"), of(ours).as_ref(), of(theirs).as_ref(), side);
        }
    }

    fn fact(&mut self, at: &str, fact: &str, ours: &Value, theirs: &Value) {
        if ours[fact] != theirs[fact] {
            self.note(format!("{at} {fact}: ours {}, theirs {}", ours[fact], theirs[fact]));
        }
    }

    fn enumeration(&mut self, at: &str, ours: &Value, theirs: &Value) {
        let (ours, theirs) = (texts(&ours["enum"]), texts(&theirs["enum"]));
        let list = |values: Vec<&String>| values.into_iter().cloned().collect::<Vec<_>>().join(" ");
        match (ours.is_empty(), theirs.is_empty()) {
            (true, false) => self.note(format!("{at} enum: only theirs")),
            (false, true) => self.note(format!("{at} enum: only ours")),
            _ => {
                if ours.difference(&theirs).next().is_some() {
                    self.note(format!("{at} enum, only ours: {}", list(ours.difference(&theirs).collect())));
                }
                if theirs.difference(&ours).next().is_some() {
                    self.note(format!("{at} enum, only theirs: {}", list(theirs.difference(&ours).collect())));
                }
            }
        }
    }

    /// A reply that promises more than theirs is one of those that theirs allows.
    fn required(&mut self, at: &str, ours: &Value, theirs: &Value, side: Side) {
        let (ours, theirs) = (texts(&ours["required"]), texts(&theirs["required"]));
        for property in theirs.difference(&ours) {
            self.note(format!("{at}.{property} required: only theirs"));
        }
        for property in ours.difference(&theirs).filter(|_| side == Side::Request) {
            self.note(format!("{at}.{property} required: only ours"));
        }
    }
}

/// The strings of an array, or the keys of an object.
fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Object(members) => members.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}
