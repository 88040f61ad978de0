//! VRRP as keepalived does it by default: from the instances' own MAC addresses, with a gratuitous ARP or an
//! unsolicited neighbor advertisement for an address that nobody has leased.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use nix::sys::socket::AddressFamily;
use privnet_lab::internet_checksum;

use super::ipv6::{ALL_NODES, link_local};
use super::sockets::{join, next_raw, raw, send_raw};
use super::{Segment, on_segments};
use crate::support::{BROADCAST, Guest, eventually, octets};

const VRRP: libc::c_int = 112;
const VRRP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// In the subnet, and neither leased nor in the range.
const FLOATING_IPV4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);
const FLOATING_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x200);
const ARP: u16 = 0x0806;
const IPV4_HEADER_OCTETS: usize = 20;

#[test]
fn a_floating_address_reaches_its_new_holder_at_once() {
    on_segments(|_, segment| {
        let Segment { a, b: client, c, .. } = segment;
        for (number, guest) in (1..).zip(segment.guests()) {
            link_local(guest)?;
            guest.instance.namespace.ip(&format!("address add fd00::{number}/64 dev {} nodad", guest.device))?;
        }
        for floating in [FLOATING_IPV4.into(), FLOATING_IPV6.into()] {
            ensure!(
                client.instance.namespace.ping(floating, 1)? == 0,
                "somebody answers for {floating}, which nobody has"
            );
            let mut last: Option<&Guest> = None;
            // There and back.
            for (number, (holder, backup)) in [(a, c), (c, a), (a, c)].into_iter().enumerate() {
                advertise(holder, backup, number as u8)?;
                // At the last moment: the client gives up an address that does not answer for a while, and listens
                // to no advertisement of it then (RFC 4861 §7.2.5).
                last.replace(holder).map_or(Ok(()), |last| release(last, floating))?;
                take(holder, floating)?;
                if number == 0 {
                    // Nobody has asked for it yet.
                    ensure!(client.instance.namespace.reaches(floating)?, "the first holder is not found");
                }
                let knows =
                    || Ok(client.instance.namespace.ip(&format!("neigh show {floating}"))?.contains(&holder.mac));
                eventually("the client has heard of the new holder", knows)?;
                ensure!(
                    client.instance.namespace.reaches(floating)?,
                    "{floating} is not reached at {}",
                    holder.instance.name
                );
                ensure!(knows()?, "another one answers");
            }
            last.map_or(Ok(()), |last| release(last, floating))?;
        }
        Ok(())
    });
}

/// The backup hears the master's advertisement, from its own MAC address and untouched.
fn advertise(master: &Guest, backup: &Guest, number: u8) -> Result<()> {
    let [sends, hears] = [master, backup].map(|guest| raw(guest, AddressFamily::Inet, VRRP));
    let (sends, hears) = (sends?, hears?);
    join(&hears, backup, VRRP_GROUP)?;
    let advertisement = advertisement(number);
    send_raw(&sends, VRRP_GROUP, &advertisement)?;
    let packet = next_raw(&hears)?;
    // RFC 5798 §5.1.1.3: any less has been routed, and is dropped.
    let (ttl, source) = (packet[8], &packet[12..16]);
    ensure!(ttl == 255 && source == master.address.octets(), "{packet:?}");
    ensure!(packet[IPV4_HEADER_OCTETS..] == advertisement, "{packet:?}");
    Ok(())
}

fn release(holder: &Guest, floating: IpAddr) -> Result<()> {
    holder.instance.namespace.ip(&format!("address delete {floating} dev {}", holder.device)).map(drop)
}

/// The instance takes the address over and says so.
fn take(holder: &Guest, floating: IpAddr) -> Result<()> {
    let nodad = if floating.is_ipv6() { "nodad" } else { "" };
    holder.instance.namespace.ip(&format!("address add {floating} dev {} {nodad}", holder.device))?;
    match floating {
        IpAddr::V4(floating) => {
            let (own, everybody) = (octets(&holder.mac), octets(BROADCAST));
            let station = |mac: &[u8]| [mac, &floating.octets()].concat();
            let gratuitous = [&[0, 1, 8, 0, 6, 4, 0, 1], &*station(&own), &station(&everybody)].concat();
            holder.send(BROADCAST, ARP, &gratuitous)
        }
        IpAddr::V6(floating) => {
            // To be taken for what is known already; the kernel adds the checksum (RFC 4861 §4.4).
            let mut advertisement = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
            advertisement.extend(floating.octets());
            advertisement.extend([2, 1]);
            advertisement.extend(octets(&holder.mac));
            send_raw(&raw(holder, AddressFamily::Inet6, libc::IPPROTO_ICMPV6)?, ALL_NODES, &advertisement)
        }
    }
}

/// Version 2, of a virtual router with this number (RFC 3768 §5.1).
fn advertisement(number: u8) -> Vec<u8> {
    let mut message = vec![0x21, number, 100, 1, 0, 1, 0, 0];
    message.extend(FLOATING_IPV4.octets());
    message.extend([0; 8]);
    let checksum = internet_checksum(&message);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}
