//! What a list of changes comes to, record by record.

use std::collections::BTreeMap;

use privnet_model::zone::{Change, Row};
use privnet_model::{
    Carriage, Host, HostId, Instance, InstanceId, Invitation, InvitationId, Key, KeyId, Name, Network, NetworkId,
    Operation, OperationId, Organization, OrganizationId, Port, SshKey,
};

/// The first state and the last of every record that a list of changes touches. What lies between
/// never needs to be written.
#[derive(Default)]
pub(crate) struct Effect<'a> {
    pub(crate) organizations: Records<'a, Organization>,
    pub(crate) keys: Records<'a, Key>,
    pub(crate) networks: Records<'a, Network>,
    pub(crate) instances: Records<'a, Instance>,
    pub(crate) ports: Records<'a, Port>,
    pub(crate) hosts: Records<'a, Host>,
    pub(crate) operations: Records<'a, Operation>,
    pub(crate) carriages: Records<'a, Carriage>,
    pub(crate) ssh_keys: Records<'a, SshKey>,
    pub(crate) invitations: Records<'a, Invitation>,
}

/// Records by key, before and after.
pub(crate) type Records<'a, T> = BTreeMap<<T as Record>::Key, Pair<'a, T>>;

/// A record before and after; `None` where it is not there.
pub(crate) struct Pair<'a, T> {
    pub(crate) before: Option<&'a T>,
    pub(crate) after: Option<&'a T>,
}

/// A record that a store keeps.
pub(crate) trait Record: PartialEq {
    /// What identifies it.
    type Key: Ord;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// Its kind and key, for messages.
    fn title(&self) -> String;
}

impl<'a> Effect<'a> {
    pub(crate) fn of(changes: &'a [Change]) -> Self {
        let mut effect = Self::default();
        for change in changes {
            match change {
                Change::Organization(row) => add(&mut effect.organizations, row),
                Change::Key(row) => add(&mut effect.keys, row),
                Change::Network(row) => add(&mut effect.networks, row),
                Change::Instance(row) => add(&mut effect.instances, row),
                Change::Port(row) => add(&mut effect.ports, row),
                Change::Host(row) => add(&mut effect.hosts, row),
                Change::Operation(row) => add(&mut effect.operations, row),
                Change::Carriage(row) => add(&mut effect.carriages, row),
                Change::SshKey(row) => add(&mut effect.ssh_keys, row),
                Change::Invitation(row) => add(&mut effect.invitations, row),
            }
        }
        effect
    }
}

fn add<'a, T: Record>(records: &mut Records<'a, T>, row: &'a Row<T>) {
    let (before, after) = (row.before.as_deref(), row.after.as_deref());
    if let Some(record) = before.or(after) {
        records.entry(record.key()).or_insert(Pair { before, after }).after = after;
    }
}

impl Record for Organization {
    type Key = OrganizationId;

    fn key(&self) -> OrganizationId {
        self.id
    }

    fn title(&self) -> String {
        format!("organization {}", self.name)
    }
}

impl Record for Key {
    type Key = KeyId;

    fn key(&self) -> KeyId {
        self.id
    }

    fn title(&self) -> String {
        format!("key {}", self.id)
    }
}

impl Record for Network {
    type Key = NetworkId;

    fn key(&self) -> NetworkId {
        self.id
    }

    fn title(&self) -> String {
        format!("network {}", self.id)
    }
}

impl Record for Instance {
    type Key = InstanceId;

    fn key(&self) -> InstanceId {
        self.id
    }

    fn title(&self) -> String {
        format!("instance {}", self.id)
    }
}

impl Record for Port {
    type Key = (NetworkId, InstanceId);

    fn key(&self) -> (NetworkId, InstanceId) {
        (self.network, self.instance)
    }

    fn title(&self) -> String {
        format!("the port of instance {} in network {}", self.instance, self.network)
    }
}

impl Record for Host {
    type Key = HostId;

    fn key(&self) -> HostId {
        self.id
    }

    fn title(&self) -> String {
        format!("host {}", self.name)
    }
}

impl Record for Operation {
    type Key = OperationId;

    fn key(&self) -> OperationId {
        self.id
    }

    fn title(&self) -> String {
        format!("operation {}", self.id)
    }
}

impl Record for SshKey {
    type Key = (OrganizationId, Name);

    fn key(&self) -> (OrganizationId, Name) {
        (self.organization, self.name.clone())
    }

    fn title(&self) -> String {
        format!("SSH key \"{}\" of organization {}", self.name, self.organization)
    }
}

impl Record for Invitation {
    type Key = InvitationId;

    fn key(&self) -> InvitationId {
        self.id
    }

    fn title(&self) -> String {
        format!("the invitation of host {}", self.host)
    }
}

impl Record for Carriage {
    type Key = (HostId, NetworkId);

    fn key(&self) -> (HostId, NetworkId) {
        (self.host, self.network)
    }

    fn title(&self) -> String {
        format!("the carriage of network {} by host {}", self.network, self.host)
    }
}
