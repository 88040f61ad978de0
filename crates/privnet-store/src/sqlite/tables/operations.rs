//! Operations: what each is about, its state, and what it waits for while it is pending.

use privnet_model::{
    Applied, Generation, HostId, InstanceId, NetworkId, Operation, OperationId, OperationKind, OperationState, Reason,
    RequestId, SignedRequest, Subject, Wait, WaitPort,
};

use super::columns::{
    NULL, UNKNOWN_WORD, mac, mac_bits, number, octets, optional_timestamp, organization, text, timestamp,
};
use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::{Column, Role, Table, Value};

impl Table for Operation {
    const NAME: &'static str = "operations";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("kind", Role::Plain),
        Column::new("network", Role::Plain),
        Column::new("instance", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("state", Role::Version),
        Column::new("wait_network", Role::Plain),
        Column::new("wait_generation", Role::Plain),
        Column::new("wait_host", Role::Plain),
        Column::new("wait_mac", Role::Plain),
        Column::new("deadline_ms", Role::Plain),
        Column::new("reason", Role::Plain),
        Column::new("message", Role::Plain),
        Column::new("organization", Role::Plain),
        Column::new("request", Role::Plain),
        Column::new("requested_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let (network, instance) = match &self.subject {
            Subject::Network(id) => (octets(id.as_bytes()), NULL),
            Subject::Instance(id) => (NULL, octets(id.as_bytes())),
            Subject::Nothing => (NULL, NULL),
        };
        let (applied, host, deadline) = match &self.state {
            OperationState::Pending { wait, deadline } => match wait {
                Wait::Applied(applied) => (Some(applied), applied.port.as_ref().map(|port| &port.host), Some(deadline)),
                Wait::Placed(_) => (None, None, Some(deadline)),
                Wait::Removed { host, .. } => (None, Some(host), Some(deadline)),
            },
            _ => (None, None, None),
        };
        let (reason, message) = match &self.state {
            OperationState::Failure { reason, message } => (Some(reason.as_str()), Some(message.as_str())),
            OperationState::Timeout { message } => (None, Some(message.as_str())),
            OperationState::Pending { .. } | OperationState::Success => (None, None),
        };
        let port = applied.and_then(|applied| applied.port.as_ref());
        vec![
            octets(self.id.as_bytes()),
            text(self.kind.as_str()),
            network,
            instance,
            number(self.created_at.unix_ms),
            text(state(&self.state)),
            applied.map_or(NULL, |applied| octets(applied.network.as_bytes())),
            applied.map_or(NULL, |applied| number(applied.generation.0)),
            host.map_or(NULL, |host| octets(host.as_bytes())),
            port.map_or(NULL, |port| number(mac_bits(port.mac))),
            deadline.map_or(NULL, |deadline| number(deadline.unix_ms)),
            reason.map_or(NULL, text),
            message.map_or(NULL, text),
            octets(self.organization.as_bytes()),
            self.request.as_ref().map_or(NULL, |request| octets(request.id.as_bytes())),
            self.request.map_or(NULL, |request| number(request.at.unix_ms)),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        let id = OperationId::from_bytes(fields.get()?);
        let kind = fields.text(|text| OperationKind::parse(text).ok_or(UNKNOWN_WORD))?;
        let subject = subject(fields)?;
        let created_at = timestamp(fields)?;
        let state = operation_state(fields, subject)?;
        let organization = organization(fields)?;
        let request = fields.get::<Option<_>>()?.map(RequestId::from_bytes);
        let request = request.zip(optional_timestamp(fields)?).map(|(id, at)| SignedRequest { id, at });
        Ok(Self { id, organization, kind, subject, created_at, request, state })
    }
}

const fn state(state: &OperationState) -> &'static str {
    match state {
        OperationState::Pending { .. } => "pending",
        OperationState::Success => "success",
        OperationState::Failure { .. } => "failure",
        OperationState::Timeout { .. } => "timeout",
    }
}

fn subject(fields: &mut Fields<'_>) -> Result<Subject, StoreError> {
    let network = fields.get::<Option<[u8; 16]>>()?.map(NetworkId::from_bytes);
    let instance = fields.get::<Option<[u8; 16]>>()?.map(InstanceId::from_bytes);
    match (network, instance) {
        (Some(network), None) => Ok(Subject::Network(network)),
        (None, Some(instance)) => Ok(Subject::Instance(instance)),
        (None, None) => Ok(Subject::Nothing),
        (Some(_), Some(_)) => Err(fields.invalid("it is about a network or an instance, one of them")),
    }
}

fn operation_state(fields: &mut Fields<'_>, subject: Subject) -> Result<OperationState, StoreError> {
    let state = fields.get::<String>()?;
    let wait = wait(fields, subject, &state)?;
    let deadline = optional_timestamp(fields)?;
    let reason = fields.optional_text(|text| Reason::parse(text).ok_or(UNKNOWN_WORD))?;
    let message = fields.get::<Option<String>>()?;
    match (state.as_str(), wait, deadline, reason, message) {
        ("pending", Some(wait), Some(deadline), None, None) => Ok(OperationState::Pending { wait, deadline }),
        ("success", None, None, None, None) => Ok(OperationState::Success),
        ("failure", None, None, Some(reason), Some(message)) => Ok(OperationState::Failure { reason, message }),
        ("timeout", None, None, None, Some(message)) => Ok(OperationState::Timeout { message }),
        _ => Err(fields.invalid(format!("the columns since state do not make a state \"{state}\""))),
    }
}

/// What a pending operation waits for: a network at a generation; or, where it is about an instance, that the host
/// has nothing left of it, or, without a host, that it is where it shall be.
fn wait(fields: &mut Fields<'_>, subject: Subject, state: &str) -> Result<Option<Wait>, StoreError> {
    let network = fields.get::<Option<[u8; 16]>>()?.map(NetworkId::from_bytes);
    let generation = fields.get::<Option<i64>>()?.map(|number| Generation(number.cast_unsigned()));
    let host = fields.get::<Option<[u8; 16]>>()?.map(HostId::from_bytes);
    let mac = mac(fields)?;
    match (subject, network, generation, host, mac) {
        (Subject::Network(_), Some(network), Some(generation), None, None) => {
            Ok(Some(Wait::Applied(Applied { network, generation, port: None })))
        }
        (Subject::Network(_), Some(network), Some(generation), Some(host), Some(mac)) => {
            let port = Some(WaitPort { host, mac });
            Ok(Some(Wait::Applied(Applied { network, generation, port })))
        }
        (Subject::Instance(instance), None, None, Some(host), None) => Ok(Some(Wait::Removed { instance, host })),
        (Subject::Instance(instance), None, None, None, None) if state == "pending" => Ok(Some(Wait::Placed(instance))),
        (_, None, None, None, None) => Ok(None),
        _ => Err(fields.invalid("only some of what a pending operation waits for is there")),
    }
}
