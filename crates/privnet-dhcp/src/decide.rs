use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use privnet_model::{MacAddr, SERVER_MAC};

use crate::frame::Datagram;
use crate::request::Request;
use crate::{PortFacts, ReplyKind, Silence};

pub(crate) const BROADCAST_MAC: MacAddr = MacAddr::new([0xff; 6]);

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// DHCPOFFER of this address.
    Offer(Ipv4Addr),
    /// DHCPACK of this address.
    Ack(Ipv4Addr),
    /// DHCPACK of the parameters alone, to a client that has this address from elsewhere.
    Inform(Ipv4Addr),
    /// DHCPNAK.
    Nak,
}

impl Decision {
    pub(crate) const fn kind(self) -> ReplyKind {
        match self {
            Self::Offer(_) => ReplyKind::Offer,
            Self::Ack(_) | Self::Inform(_) => ReplyKind::Ack,
            Self::Nak => ReplyKind::Nak,
        }
    }
}

/// Clients broadcast to everybody or, when they renew, write to the server itself.
pub(crate) fn check_addressee(datagram: &Datagram<'_>, facts: &PortFacts<'_>) -> Result<(), Silence> {
    let (mac, address) = (datagram.destination_mac, datagram.destination);
    let server = facts.settings.range.subnet().server();
    if [BROADCAST_MAC, SERVER_MAC].contains(&mac) && [Ipv4Addr::BROADCAST, server].contains(&address) {
        Ok(())
    } else {
        Err(Silence::NotForThisServer { mac, address })
    }
}

/// A port asks for itself only, and directly.
pub(crate) fn check_sender(datagram: &Datagram<'_>, request: &Request, facts: &PortFacts<'_>) -> Result<(), Silence> {
    if !request.giaddr.is_unspecified() {
        return Err(Silence::Relayed(request.giaddr));
    }
    let (chaddr, source_mac, port) = (request.chaddr, datagram.source_mac, facts.mac);
    if chaddr == port && source_mac == port { Ok(()) } else { Err(Silence::Stranger { chaddr, source_mac, port }) }
}

/// RFC 2131 §4.3. The port's lease is the whole database: its address is right and any other is wrong.
pub(crate) fn decide(request: &Request, facts: &PortFacts<'_>) -> Result<Decision, Silence> {
    match request.kind {
        MessageType::Discover => discover(facts),
        MessageType::Request => for_this_server(request, facts).and_then(|()| self::request(request, facts)),
        MessageType::Decline => for_this_server(request, facts).and_then(|()| decline(request)),
        MessageType::Release => for_this_server(request, facts).and(Err(Silence::Released(request.ciaddr))),
        MessageType::Inform => inform(request, facts),
        other => Err(Silence::NotFromAClient(other)),
    }
}

/// A client that names a server talks to that one alone.
fn for_this_server(request: &Request, facts: &PortFacts<'_>) -> Result<(), Silence> {
    match request.server {
        Some(server) if server != facts.settings.range.subnet().server() => Err(Silence::AnotherServer(server)),
        _ => Ok(()),
    }
}

/// RFC 2131 §4.3.1. The address that a client may wish for (option 50), or says that it has, changes nothing.
fn discover(facts: &PortFacts<'_>) -> Result<Decision, Silence> {
    facts.address.map(Decision::Offer).ok_or(Silence::NoLease)
}

/// RFC 2131 §4.3.2: right is acknowledged and wrong is refused. Nobody else serves this network, so a wrong
/// address is wrong also where it lies in another subnet.
fn request(request: &Request, facts: &PortFacts<'_>) -> Result<Decision, Silence> {
    let address = facts.address.ok_or(Silence::NoLease)?;
    let wanted = wanted_address(request).ok_or(Silence::NoAddress)?;
    Ok(if wanted == address { Decision::Ack(address) } else { Decision::Nak })
}

/// The address that a client wants: option 50 while it has none (SELECTING, INIT-REBOOT), `ciaddr` when it has
/// (RENEWING, REBINDING). A lease is right or wrong whatever the state, so clients that fill in more than RFC 2131
/// Table 4 lets them are answered as well.
fn wanted_address(request: &Request) -> Option<Ipv4Addr> {
    [request.requested, Some(request.ciaddr)].into_iter().flatten().find(|address| !address.is_unspecified())
}

fn decline(request: &Request) -> Result<Decision, Silence> {
    Err(request.requested.map_or(Silence::NoAddress, Silence::Declined))
}

/// RFC 2131 §4.3.5: the address must make sense in the network, and must not be looked up among leases.
fn inform(request: &Request, facts: &PortFacts<'_>) -> Result<Decision, Silence> {
    match facts.settings.range.check_static(request.ciaddr) {
        Ok(()) => Ok(Decision::Inform(request.ciaddr)),
        Err(_) => Err(Silence::InformFromOutside(request.ciaddr)),
    }
}
