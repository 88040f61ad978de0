//! What a host is told about a network, from the wire to the model and back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use privnet_model::{
    Account, AddressRange, DeviceName, DhcpOptions, DhcpSettings, DomainName, Generation, LocalPort, Location, MacAddr,
    Member, Name, Netns, NetworkDelta, NetworkState, Placement, Power, Tap, Vni,
};

use crate::proto::{self, local_port, member};
use crate::{MessageError, field};

impl TryFrom<proto::NetworkState> for NetworkState {
    type Error = MessageError;

    fn try_from(state: proto::NetworkState) -> Result<Self, MessageError> {
        Ok(Self {
            id: field::network(&state.network)?,
            vni: field::rule("vni", Vni::try_from(state.vni))?,
            generation: Generation(state.generation),
            mtu_bytes: state.mtu_bytes,
            dhcp: state.dhcp.map(DhcpSettings::try_from).transpose()?,
            members: by_mac(state.members)?,
        })
    }
}

impl From<&NetworkState> for proto::NetworkState {
    fn from(state: &NetworkState) -> Self {
        Self {
            network: state.id.as_bytes().to_vec(),
            vni: state.vni.get(),
            generation: state.generation.0,
            mtu_bytes: state.mtu_bytes,
            dhcp: state.dhcp.as_ref().map(proto::DhcpSettings::from),
            members: state.members.values().map(proto::Member::from).collect(),
        }
    }
}

impl TryFrom<proto::NetworkDelta> for NetworkDelta {
    type Error = MessageError;

    fn try_from(delta: proto::NetworkDelta) -> Result<Self, MessageError> {
        Ok(Self {
            id: field::network(&delta.network)?,
            base: Generation(delta.base),
            generation: Generation(delta.generation),
            mtu_bytes: delta.mtu_bytes,
            dhcp: delta.dhcp.map(DhcpSettings::try_from).transpose()?,
            set: delta.set.into_iter().map(Member::try_from).collect::<Result<_, _>>()?,
            removed: delta.removed.iter().map(|mac| field::mac(mac)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&NetworkDelta> for proto::NetworkDelta {
    fn from(delta: &NetworkDelta) -> Self {
        Self {
            network: delta.id.as_bytes().to_vec(),
            base: delta.base.0,
            generation: delta.generation.0,
            mtu_bytes: delta.mtu_bytes,
            dhcp: delta.dhcp.as_ref().map(proto::DhcpSettings::from),
            set: delta.set.iter().map(proto::Member::from).collect(),
            removed: delta.removed.iter().map(|mac| mac.octets().to_vec()).collect(),
        }
    }
}

fn by_mac(members: Vec<proto::Member>) -> Result<BTreeMap<MacAddr, Member>, MessageError> {
    let mut by_mac = BTreeMap::new();
    for member in members {
        let member = Member::try_from(member)?;
        if let Some(first) = by_mac.insert(member.mac, member) {
            return Err(MessageError::MemberTwice(first.mac));
        }
    }
    Ok(by_mac)
}

impl TryFrom<proto::Member> for Member {
    type Error = MessageError;

    fn try_from(member: proto::Member) -> Result<Self, MessageError> {
        let location = match field::present("location", member.location)? {
            member::Location::Local(port) => Location::Local(port.try_into()?),
            member::Location::Vtep(octets) => Location::Remote { vtep: field::vtep(&octets)? },
        };
        Ok(Self { mac: field::mac(&member.mac)?, address: member.address.map(Ipv4Addr::from_bits), location })
    }
}

impl From<&Member> for proto::Member {
    fn from(member: &Member) -> Self {
        let location = match &member.location {
            Location::Local(port) => member::Location::Local(port.into()),
            Location::Remote { vtep } => member::Location::Vtep(field::vtep_octets(*vtep)),
        };
        Self {
            mac: member.mac.octets().to_vec(),
            address: member.address.map(Ipv4Addr::to_bits),
            location: Some(location),
        }
    }
}

impl TryFrom<proto::LocalPort> for LocalPort {
    type Error = MessageError;

    fn try_from(port: proto::LocalPort) -> Result<Self, MessageError> {
        Ok(Self {
            instance: field::instance(&port.instance)?,
            instance_name: field::rule("instance_name", Name::try_from(port.instance_name.as_str()))?,
            placement: match field::present("placement", port.placement)? {
                local_port::Placement::Netns(netns) => {
                    Placement::Netns(field::rule("netns", Netns::try_from(netns.as_str()))?)
                }
                local_port::Placement::Tap(tap) => Placement::Tap(tap.try_into()?),
            },
            device: field::rule("device", DeviceName::try_from(port.device.as_str()))?,
            power: if port.is_stopped { Power::Stopped } else { Power::Running },
            reboots: port.reboots,
            is_configured: port.is_configured,
        })
    }
}

impl From<&LocalPort> for proto::LocalPort {
    fn from(port: &LocalPort) -> Self {
        Self {
            instance: port.instance.as_bytes().to_vec(),
            instance_name: port.instance_name.as_str().to_owned(),
            device: port.device.as_str().to_owned(),
            placement: Some(match &port.placement {
                Placement::Netns(netns) => local_port::Placement::Netns(netns.as_str().to_owned()),
                Placement::Tap(tap) => local_port::Placement::Tap(tap.into()),
            }),
            is_stopped: port.power == Power::Stopped,
            reboots: port.reboots,
            is_configured: port.is_configured,
        }
    }
}

impl TryFrom<proto::Tap> for Tap {
    type Error = MessageError;

    fn try_from(tap: proto::Tap) -> Result<Self, MessageError> {
        let account = |field, text: &str| match text {
            "" => Ok(None),
            text => field::rule(field, Account::try_from(text)).map(Some),
        };
        Ok(Self {
            owner: account("owner", &tap.owner)?,
            group: account("group", &tap.group)?,
            is_multi_queue: tap.is_multi_queue,
        })
    }
}

impl From<&Tap> for proto::Tap {
    fn from(tap: &Tap) -> Self {
        let text = |account: &Option<Account>| account.as_ref().map(Account::to_string).unwrap_or_default();
        Self { owner: text(&tap.owner), group: text(&tap.group), is_multi_queue: tap.is_multi_queue }
    }
}

impl TryFrom<proto::DhcpSettings> for DhcpSettings {
    type Error = MessageError;

    fn try_from(dhcp: proto::DhcpSettings) -> Result<Self, MessageError> {
        let [start, end, netmask] = [dhcp.start, dhcp.end, dhcp.netmask].map(Ipv4Addr::from_bits);
        let [routers, dns_servers, ntp_servers] =
            [dhcp.routers, dhcp.dns_servers, dhcp.ntp_servers].map(|list| addresses(&list));
        let names = dhcp.domain_search.iter().map(|name| DomainName::try_from(name.as_str()));
        let domain_search = field::rule("domain_search", names.collect())?;
        Ok(Self {
            range: field::rule("dhcp", AddressRange::new(start, end, netmask))?,
            options: field::rule("dhcp", DhcpOptions::new(routers, dns_servers, ntp_servers, domain_search))?,
        })
    }
}

impl From<&DhcpSettings> for proto::DhcpSettings {
    fn from(dhcp: &DhcpSettings) -> Self {
        let options = &dhcp.options;
        Self {
            start: dhcp.range.start().to_bits(),
            end: dhcp.range.end().to_bits(),
            netmask: dhcp.range.subnet().netmask().to_bits(),
            routers: numbers(options.routers()),
            dns_servers: numbers(options.dns_servers()),
            ntp_servers: numbers(options.ntp_servers()),
            domain_search: options.domain_search().iter().map(|name| name.as_str().to_owned()).collect(),
        }
    }
}

fn addresses(numbers: &[u32]) -> Vec<Ipv4Addr> {
    numbers.iter().copied().map(Ipv4Addr::from_bits).collect()
}

fn numbers(addresses: &[Ipv4Addr]) -> Vec<u32> {
    addresses.iter().map(|address| address.to_bits()).collect()
}
