use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use privnet_model::{
    Generation, HostFacts, HostId, HostName, InstanceId, InstanceState, MacAddr, NetworkDelta, NetworkId, NetworkState,
    Reason,
};

use crate::proto::{self, from_agent, from_server};
use crate::{HELD_MAX, MessageError, field, instance};

/// How many operations of a repair are told of, as they are for people.
const REPAIRS_TOLD_MAX: usize = 100;

/// What an agent tells the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// First, and only then.
    Hello(Hello),
    /// The network has reached this generation on this host, but for the ports that failed. Sent
    /// after each pass that reached a generation, and again when the failures have changed.
    Applied {
        /// The network.
        network: NetworkId,
        /// What it has reached.
        generation: Generation,
        /// The ports that are not as wanted.
        failures: Vec<PortFailure>,
    },
    /// This host carries nothing of the network any more.
    Removed {
        /// The network.
        network: NetworkId,
        /// The `removal` of the [`FromServer::Remove`] that this answers. An answer to an earlier one
        /// confirms nothing: the network may have come back and gone again since.
        removal: u64,
    },
    /// A delta did not build on what this host has.
    NeedFull {
        /// The network.
        network: NetworkId,
    },
    /// The kernel had drifted from what is wanted, and was put right.
    Repaired {
        /// The network.
        network: NetworkId,
        /// What was done, one operation each, for people; the first 100 arrive, and of each the first 1,024 octets.
        what: Vec<String>,
    },
    /// The underlay's device has another MTU than the Hello said.
    UnderlayMtu {
        /// From now on, in octets.
        bytes: u32,
    },
    /// The host has made the instance.
    InstanceMade {
        /// The instance.
        instance: InstanceId,
        /// The `serial` of the [`FromServer::Instance`] that this answers; 0 for what the Hello said.
        serial: u64,
    },
    /// The host cannot make the instance, and goes on trying.
    InstanceFailed {
        /// The instance.
        instance: InstanceId,
        /// As in `InstanceMade`.
        serial: u64,
        /// Why not.
        failure: InstanceFailure,
    },
    /// Nothing is left of the instance on this host: neither what the host made, nor a port.
    InstanceRemoved {
        /// The instance.
        instance: InstanceId,
        /// The `serial` of the [`FromServer::RemoveInstance`] that this answers.
        serial: u64,
    },
    /// This agent is still there.
    Present {
        /// The `serial` of the [`FromServer::Rival`] that this answers.
        serial: u64,
    },
    /// A client of this host found the address of its port in use by another machine (DHCPDECLINE, RFC 2131 §4.3.3).
    AddressDeclined {
        /// The network.
        network: NetworkId,
        /// The port.
        port: MacAddr,
        /// Its address.
        address: Ipv4Addr,
        /// How often since this was told before.
        times: u32,
    },
}

/// What the server tells an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// The agent's Hello was accepted.
    Welcome {
        /// The version that the server speaks.
        protocol: u32,
        /// The host's id.
        host: HostId,
    },
    /// The network as this host shall carry it.
    Full(NetworkState),
    /// What has changed in it.
    Delta(NetworkDelta),
    /// The host shall carry nothing of the network any more.
    Remove {
        /// The network.
        network: NetworkId,
        /// Tells this removal from earlier ones of the network on this stream.
        removal: u64,
    },
    /// Everything that the agent lacked when it connected has been sent.
    Current,
    /// The host shall make the instance, if it has not.
    Instance {
        /// What to make.
        state: InstanceState,
        /// Tells this message from earlier ones about the instance on this stream.
        serial: u64,
    },
    /// The host shall have nothing of the instance any more.
    RemoveInstance {
        /// The instance.
        instance: InstanceId,
        /// As in `Instance`.
        serial: u64,
    },
    /// Another agent asks to be this host. It is refused if this one says soon that it is [`FromAgent::Present`].
    Rival {
        /// Where it is, for people.
        who: String,
        /// Tells this message from earlier ones on this stream.
        serial: u64,
    },
}

/// Which run of an agent's process it is: drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunId(pub [u8; 16]);

/// Who the agent is and what it already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version that the agent speaks.
    pub protocol: u32,
    /// The host's name.
    pub host: HostName,
    /// What the host is like.
    pub facts: HostFacts,
    /// The networks it holds, and their generations; at most [`HELD_MAX`].
    pub held: BTreeMap<NetworkId, Generation>,
    /// The instances that it shall make, as far as it knows; at most [`HELD_MAX`].
    pub instances: BTreeSet<InstanceId>,
    /// Which run of the agent it is; `None` where its version does not say.
    pub run: Option<RunId>,
}

/// Why a host cannot make an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFailure {
    /// One word for programs, as in [`PortFailure`].
    pub reason: Reason,
    /// A sentence for people, of which the first 1,024 octets arrive.
    pub message: String,
}

/// A port of this host that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFailure {
    /// The port.
    pub mac: MacAddr,
    /// One word for programs. One that a newer agent knows is read as [`Reason::Fault`].
    pub reason: Reason,
    /// A sentence for people, of which the first 1,024 octets arrive.
    pub message: String,
}

/// A machine that was invited asks to be a host.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Of the invitation.
    pub token: String,
    /// What it takes itself for.
    pub host: HostName,
    /// A request for a certificate (PKCS#10, DER).
    pub request: Vec<u8>,
    /// What it is like.
    pub facts: HostFacts,
}

impl JoinRequest {
    /// The request.
    ///
    /// # Errors
    /// [`MessageError`] for the first field that breaks the protocol.
    pub fn parse(message: proto::JoinRequest) -> Result<Self, MessageError> {
        Ok(Self {
            token: message.token,
            host: field::rule("host_name", HostName::try_from(message.host_name.as_str()))?,
            request: message.request,
            facts: HostFacts {
                vtep: field::vtep(&message.vtep)?,
                underlay_mtu_bytes: message.underlay_mtu_bytes,
                version: field::version(message.version)?,
            },
        })
    }
}

impl From<JoinRequest> for proto::JoinRequest {
    fn from(request: JoinRequest) -> Self {
        Self {
            token: request.token,
            host_name: request.host.as_str().to_owned(),
            request: request.request,
            vtep: field::vtep_octets(request.facts.vtep),
            underlay_mtu_bytes: request.facts.underlay_mtu_bytes,
            version: request.facts.version,
        }
    }
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("host", &self.host).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl FromAgent {
    /// The message; `None` if it is of a kind that only a newer agent knows, which is to be skipped.
    ///
    /// # Errors
    /// [`MessageError`] for the first field that breaks the protocol.
    pub fn parse(message: proto::FromAgent) -> Result<Option<Self>, MessageError> {
        let Some(kind) = message.kind else { return Ok(None) };
        Ok(Some(match kind {
            from_agent::Kind::Hello(hello) => Self::Hello(hello.try_into()?),
            from_agent::Kind::Applied(applied) => Self::Applied {
                network: field::network(&applied.network)?,
                generation: Generation(applied.generation),
                failures: applied.failures.into_iter().map(PortFailure::try_from).collect::<Result<_, _>>()?,
            },
            from_agent::Kind::Removed(removed) => {
                Self::Removed { network: field::network(&removed.network)?, removal: removed.removal }
            }
            from_agent::Kind::NeedFull(need) => Self::NeedFull { network: field::network(&need.network)? },
            from_agent::Kind::Repaired(repaired) => Self::Repaired {
                network: field::network(&repaired.network)?,
                what: repaired.what.into_iter().take(REPAIRS_TOLD_MAX).map(field::cut).collect(),
            },
            from_agent::Kind::UnderlayMtu(mtu) => Self::UnderlayMtu { bytes: mtu.bytes },
            from_agent::Kind::InstanceMade(made) => {
                Self::InstanceMade { instance: field::instance(&made.instance)?, serial: made.serial }
            }
            from_agent::Kind::InstanceFailed(failed) => Self::InstanceFailed {
                instance: field::instance(&failed.instance)?,
                serial: failed.serial,
                failure: InstanceFailure { reason: reason(&failed.reason), message: field::cut(failed.message) },
            },
            from_agent::Kind::InstanceRemoved(removed) => {
                Self::InstanceRemoved { instance: field::instance(&removed.instance)?, serial: removed.serial }
            }
            from_agent::Kind::Present(present) => Self::Present { serial: present.serial },
            from_agent::Kind::AddressDeclined(declined) => Self::AddressDeclined {
                network: field::network(&declined.network)?,
                port: field::mac(&declined.mac)?,
                address: declined.address.into(),
                times: declined.times,
            },
        }))
    }
}

impl From<FromAgent> for proto::FromAgent {
    fn from(message: FromAgent) -> Self {
        let kind = match message {
            FromAgent::Hello(hello) => from_agent::Kind::Hello(hello.into()),
            FromAgent::Applied { network, generation, failures } => from_agent::Kind::Applied(proto::Applied {
                network: network.as_bytes().to_vec(),
                generation: generation.0,
                failures: failures.into_iter().map(proto::PortFailure::from).collect(),
            }),
            FromAgent::Removed { network, removal } => {
                from_agent::Kind::Removed(proto::Removed { network: network.as_bytes().to_vec(), removal })
            }
            FromAgent::NeedFull { network } => {
                from_agent::Kind::NeedFull(proto::NeedFull { network: network.as_bytes().to_vec() })
            }
            FromAgent::Repaired { network, what } => {
                from_agent::Kind::Repaired(proto::Repaired { network: network.as_bytes().to_vec(), what })
            }
            FromAgent::UnderlayMtu { bytes } => from_agent::Kind::UnderlayMtu(proto::UnderlayMtu { bytes }),
            FromAgent::InstanceMade { instance, serial } => {
                let instance = instance.as_bytes().to_vec();
                from_agent::Kind::InstanceMade(proto::InstanceMade { instance, serial })
            }
            FromAgent::InstanceFailed { instance, serial, failure: InstanceFailure { reason, message } } => {
                let (instance, reason) = (instance.as_bytes().to_vec(), reason.as_str().to_owned());
                from_agent::Kind::InstanceFailed(proto::InstanceFailed { instance, serial, reason, message })
            }
            FromAgent::InstanceRemoved { instance, serial } => {
                let instance = instance.as_bytes().to_vec();
                from_agent::Kind::InstanceRemoved(proto::InstanceRemoved { instance, serial })
            }
            FromAgent::Present { serial } => from_agent::Kind::Present(proto::Present { serial }),
            FromAgent::AddressDeclined { network, port, address, times } => {
                let (network, mac) = (network.as_bytes().to_vec(), port.octets().to_vec());
                let address = address.into();
                from_agent::Kind::AddressDeclined(proto::AddressDeclined { network, mac, address, times })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl FromServer {
    /// The message; `None` if it is of a kind that only a newer server knows, which is to be skipped.
    ///
    /// # Errors
    /// [`MessageError`] for the first field that breaks the protocol.
    pub fn parse(message: proto::FromServer) -> Result<Option<Self>, MessageError> {
        let Some(kind) = message.kind else { return Ok(None) };
        Ok(Some(match kind {
            from_server::Kind::Welcome(welcome) => Self::Welcome {
                protocol: welcome.protocol,
                host: HostId::from_bytes(field::id_octets("host", &welcome.host)?),
            },
            from_server::Kind::Full(state) => Self::Full(state.try_into()?),
            from_server::Kind::Delta(delta) => Self::Delta(delta.try_into()?),
            from_server::Kind::Remove(remove) => {
                Self::Remove { network: field::network(&remove.network)?, removal: remove.removal }
            }
            from_server::Kind::Current(proto::Current {}) => Self::Current,
            from_server::Kind::Instance(instance) => {
                Self::Instance { state: (&instance).try_into()?, serial: instance.serial }
            }
            from_server::Kind::RemoveInstance(remove) => {
                Self::RemoveInstance { instance: field::instance(&remove.instance)?, serial: remove.serial }
            }
            from_server::Kind::Rival(rival) => Self::Rival { who: rival.who, serial: rival.serial },
        }))
    }
}

impl From<FromServer> for proto::FromServer {
    fn from(message: FromServer) -> Self {
        let kind = match message {
            FromServer::Welcome { protocol, host } => {
                from_server::Kind::Welcome(proto::Welcome { protocol, host: host.as_bytes().to_vec() })
            }
            FromServer::Full(state) => from_server::Kind::Full((&state).into()),
            FromServer::Delta(delta) => from_server::Kind::Delta((&delta).into()),
            FromServer::Remove { network, removal } => {
                from_server::Kind::Remove(proto::Remove { network: network.as_bytes().to_vec(), removal })
            }
            FromServer::Current => from_server::Kind::Current(proto::Current {}),
            FromServer::Instance { state, serial } => from_server::Kind::Instance(instance::message(&state, serial)),
            FromServer::RemoveInstance { instance, serial } => {
                let instance = instance.as_bytes().to_vec();
                from_server::Kind::RemoveInstance(proto::RemoveInstance { instance, serial })
            }
            FromServer::Rival { who, serial } => from_server::Kind::Rival(proto::Rival { who, serial }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Hello> for Hello {
    type Error = MessageError;

    fn try_from(hello: proto::Hello) -> Result<Self, MessageError> {
        field::not_too_many("held", hello.held.len(), HELD_MAX)?;
        field::not_too_many("instances", hello.instances.len(), HELD_MAX)?;
        let held = hello.held.iter().map(|h| Ok((field::network(&h.network)?, Generation(h.generation))));
        Ok(Self {
            protocol: hello.protocol,
            host: field::rule("host_name", HostName::try_from(hello.host_name.as_str()))?,
            facts: HostFacts {
                vtep: field::vtep(&hello.vtep)?,
                underlay_mtu_bytes: hello.underlay_mtu_bytes,
                version: field::version(hello.version)?,
            },
            held: held.collect::<Result<_, MessageError>>()?,
            instances: hello.instances.iter().map(|id| field::instance(id)).collect::<Result<_, _>>()?,
            run: if hello.run.is_empty() { None } else { Some(RunId(field::id_octets("run", &hello.run)?)) },
        })
    }
}

impl From<Hello> for proto::Hello {
    fn from(hello: Hello) -> Self {
        let held = hello.held.into_iter();
        Self {
            protocol: hello.protocol,
            host_name: hello.host.as_str().to_owned(),
            vtep: field::vtep_octets(hello.facts.vtep),
            underlay_mtu_bytes: hello.facts.underlay_mtu_bytes,
            version: hello.facts.version,
            held: held
                .map(|(network, generation)| proto::Held {
                    network: network.as_bytes().to_vec(),
                    generation: generation.0,
                })
                .collect(),
            instances: hello.instances.iter().map(|id| id.as_bytes().to_vec()).collect(),
            run: hello.run.map_or_else(Vec::new, |RunId(octets)| octets.to_vec()),
        }
    }
}

impl TryFrom<proto::PortFailure> for PortFailure {
    type Error = MessageError;

    fn try_from(failure: proto::PortFailure) -> Result<Self, MessageError> {
        Ok(Self {
            mac: field::mac(&failure.mac)?,
            reason: reason(&failure.reason),
            message: field::cut(failure.message),
        })
    }
}

impl From<PortFailure> for proto::PortFailure {
    fn from(failure: PortFailure) -> Self {
        Self {
            mac: failure.mac.octets().to_vec(),
            reason: failure.reason.as_str().to_owned(),
            message: failure.message,
        }
    }
}

fn reason(word: &str) -> Reason {
    Reason::parse(word).unwrap_or(Reason::Fault)
}
