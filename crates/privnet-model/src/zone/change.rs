use std::sync::Arc;

use crate::{Carriage, Host, Instance, Invitation, Key, Network, Operation, Organization, Port, SshKey};

/// One record made, replaced or removed. A decision is a list of these, which a store commits
/// together or not at all and which `Zone::apply` then carries out in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An organization, by id.
    Organization(Row<Organization>),
    /// A key, by id.
    Key(Row<Key>),
    /// A network, by id.
    Network(Row<Network>),
    /// An instance, by id.
    Instance(Row<Instance>),
    /// A port, by network and instance.
    Port(Row<Port>),
    /// A host, by id.
    Host(Row<Host>),
    /// An operation, by id.
    Operation(Row<Operation>),
    /// A carriage, by host and network.
    Carriage(Row<Carriage>),
    /// An SSH key, by organization and name.
    SshKey(Row<SshKey>),
    /// An invitation, by id.
    Invitation(Row<Invitation>),
}

/// A record before and after a change, so that it can be undone and a store can tell that somebody
/// else changed it meanwhile. At least one side is there; both have the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<T> {
    /// `None`: the record is new.
    pub before: Option<Arc<T>>,
    /// `None`: the record is removed.
    pub after: Option<Arc<T>>,
}

impl<T> Row<T> {
    /// A record that was not there.
    pub fn insert(after: T) -> Self {
        Self { before: None, after: Some(Arc::new(after)) }
    }

    /// A record in another's place.
    pub fn replace(before: Arc<T>, after: T) -> Self {
        Self { before: Some(before), after: Some(Arc::new(after)) }
    }

    /// A record that is gone.
    pub fn remove(before: Arc<T>) -> Self {
        Self { before: Some(before), after: None }
    }

    fn inverse(self) -> Self {
        Self { before: self.after, after: self.before }
    }
}

impl Change {
    /// The change that takes this one back.
    pub fn inverse(self) -> Self {
        match self {
            Self::Organization(row) => Self::Organization(row.inverse()),
            Self::Key(row) => Self::Key(row.inverse()),
            Self::Network(row) => Self::Network(row.inverse()),
            Self::Instance(row) => Self::Instance(row.inverse()),
            Self::Port(row) => Self::Port(row.inverse()),
            Self::Host(row) => Self::Host(row.inverse()),
            Self::Operation(row) => Self::Operation(row.inverse()),
            Self::Carriage(row) => Self::Carriage(row.inverse()),
            Self::SshKey(row) => Self::SshKey(row.inverse()),
            Self::Invitation(row) => Self::Invitation(row.inverse()),
        }
    }
}

/// Every record of a zone, as a store hands it over at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All organizations.
    pub organizations: Vec<Organization>,
    /// All keys.
    pub keys: Vec<Key>,
    /// All networks.
    pub networks: Vec<Network>,
    /// All instances.
    pub instances: Vec<Instance>,
    /// All ports.
    pub ports: Vec<Port>,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// All operations that are kept.
    pub operations: Vec<Operation>,
    /// All carriages.
    pub carriages: Vec<Carriage>,
    /// All SSH keys.
    pub ssh_keys: Vec<SshKey>,
    /// All invitations.
    pub invitations: Vec<Invitation>,
}
