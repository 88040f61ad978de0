use std::net::Ipv4Addr;

use dhcproto::Name;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use ipnet::Ipv4Net;
use privnet_model::{DhcpOptions, DhcpSettings, DomainName, MacAddr};

use crate::decide::Decision;
use crate::request::Request;
use crate::{LEASE_SECONDS, PortFacts, REBINDING_SECONDS, RENEWAL_SECONDS, SPREAD_SECONDS, host_name};

/// What a client gets that has no parameter request list, the most needed first.
const UNASKED: [OptionCode; 7] = [
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainSearch,
    OptionCode::DomainName,
    OptionCode::BroadcastAddr,
    OptionCode::NtpServers,
    OptionCode::Hostname,
];

/// What a refused client is told (RFC 2131 Table 3: option 56).
const REFUSAL: &str = "this is not the address of your port";

/// What an answer must say, asked or not.
///
/// The subnet mask is among them, so that it stands before the routers (RFC 2132 §3.3), and so is the MTU:
/// a client that does not know it sends what the overlay drops.
pub(crate) fn required(decision: Decision, request: &Request, facts: &PortFacts<'_>) -> Vec<DhcpOption> {
    let subnet = facts.settings.range.subnet();
    let mut options =
        vec![DhcpOption::MessageType(message_type(decision)), DhcpOption::ServerIdentifier(subnet.server())];
    // RFC 6842 §3: in every answer, as the client sent it.
    options.extend(request.client_identifier.clone().map(DhcpOption::ClientIdentifier));
    let earlier_seconds = part_of_spread_seconds(facts.mac);
    let lease = [
        DhcpOption::AddressLeaseTime(LEASE_SECONDS),
        DhcpOption::Renewal(RENEWAL_SECONDS - earlier_seconds),
        DhcpOption::Rebinding(REBINDING_SECONDS - earlier_seconds),
    ];
    let link = [
        DhcpOption::SubnetMask(subnet.netmask()),
        DhcpOption::InterfaceMtu(u16::try_from(facts.overlay_mtu_bytes).unwrap_or(u16::MAX)),
    ];
    match decision {
        Decision::Offer(_) | Decision::Ack(_) => options.extend(lease.into_iter().chain(link)),
        Decision::Inform(_) => options.extend(link),
        Decision::Nak => options.push(DhcpOption::Message(REFUSAL.to_owned())),
    }
    options
}

/// 0 to [`SPREAD_SECONDS`] - 1.
fn part_of_spread_seconds(port: MacAddr) -> u32 {
    let [.., b, c, d] = port.octets();
    u32::from_be_bytes([0, b, c, d]) % SPREAD_SECONDS
}

/// What the client asked for and there is, in the client's order (RFC 2132 §9.8), each once.
pub(crate) fn optional(decision: Decision, request: &Request, facts: &PortFacts<'_>) -> Vec<DhcpOption> {
    let asked = match decision {
        Decision::Nak => &[],
        Decision::Offer(_) | Decision::Ack(_) | Decision::Inform(_) => request.asked.as_deref().unwrap_or(&UNASKED),
    };
    let asked_first_here = |(i, code): (usize, &OptionCode)| (!asked[..i].contains(code)).then_some(*code);
    let mut options: Vec<_> =
        asked.iter().enumerate().filter_map(asked_first_here).filter_map(|code| option(code, facts)).collect();
    // A client that is told routes ignores the routers (RFC 3442, "DHCP Server Administrator Responsibilities").
    if options.iter().any(|option| matches!(option, DhcpOption::ClasslessStaticRoute(_))) {
        options.retain(|option| !matches!(option, DhcpOption::Router(_)));
    }
    options
}

fn message_type(decision: Decision) -> MessageType {
    match decision {
        Decision::Offer(_) => MessageType::Offer,
        Decision::Ack(_) | Decision::Inform(_) => MessageType::Ack,
        Decision::Nak => MessageType::Nak,
    }
}

/// The value of an option, if it has one here and is not among the required ones.
fn option(code: OptionCode, facts: &PortFacts<'_>) -> Option<DhcpOption> {
    let DhcpSettings { range, options } = facts.settings;
    match code {
        OptionCode::Router => list(options.routers()).map(DhcpOption::Router),
        OptionCode::DomainNameServer => list(options.dns_servers()).map(DhcpOption::DomainNameServer),
        OptionCode::NtpServers => list(options.ntp_servers()).map(DhcpOption::NtpServers),
        OptionCode::DomainName => options.domain_search().first().map(|name| DhcpOption::DomainName(name.to_string())),
        OptionCode::DomainSearch => domain_search(options),
        OptionCode::BroadcastAddr => Some(DhcpOption::BroadcastAddr(range.subnet().broadcast())),
        OptionCode::ClasslessStaticRoute => routes(facts.settings).map(DhcpOption::ClasslessStaticRoute),
        OptionCode::Hostname => host_name::of_instance(facts.instance_name).map(DhcpOption::Hostname),
        _ => None,
    }
}

/// An option that would be empty is absent: RFC 2132 §3.5 and others want at least one address.
fn list<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}

/// Where the first router is outside of the subnet, a client cannot reach it by option 3 alone: it is on the link
/// all the same (RFC 3442, "Local Subnet Routes": a router of 0.0.0.0). A client that takes these routes ignores
/// option 3, so the default route is among them.
fn routes(settings: &DhcpSettings) -> Option<Vec<(Ipv4Net, Ipv4Addr)>> {
    let router = *settings.options.routers().first()?;
    let outside = !settings.range.subnet().contains(router);
    outside.then(|| vec![(router.into(), Ipv4Addr::UNSPECIFIED), (Ipv4Net::default(), router)])
}

/// `dhcproto` compresses the list as one message of its own, as RFC 3397 §2 wants it.
fn domain_search(options: &DhcpOptions) -> Option<DhcpOption> {
    let names: Vec<_> = options.domain_search().iter().map(name).collect();
    list(&names).map(DhcpOption::DomainSearch)
}

fn name(domain: &DomainName) -> Name {
    Name::from_ascii(domain.as_str()).expect("a DomainName is a name of RFC 1035")
}
