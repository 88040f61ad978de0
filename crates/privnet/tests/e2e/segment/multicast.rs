//! Groups that instances join by their own kernels (IGMP, MLD) and what is sent to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::ensure;

use super::ipv6::link_local;
use super::sockets::{member, next, udp};
use super::{Segment, on_segments};
use crate::support::Guest;

/// More than fits the queues on the way, were they not drained.
const BURST_DATAGRAMS: u32 = 500;

const GROUPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(239, 9, 9, 9)), IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 9, 9))];

const MDNS_GROUPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb))];
const MDNS_PORT: u16 = 5353;

#[test]
fn every_datagram_of_a_burst_reaches_every_member_and_memberships_are_heard() {
    on_segments(|lab, segment| {
        let Segment { a, b, c, .. } = segment;
        link_local(a)?;
        // Whoever snoops or routes multicasts listens to these.
        let heard =
            lab.capture(&a.instance.namespace, &a.device, &format!("ether src {} and (igmp or ip6[6] = 0)", c.mac))?;
        for group in GROUPS {
            const PORT: u16 = 7777;
            let members = [member(b, group, PORT)?, member(c, group, PORT)?];
            let sender = udp(a, own_address(a, group), 0)?;
            for number in 0..BURST_DATAGRAMS {
                sender.send_to(&number.to_be_bytes(), (group, PORT))?;
            }
            for member in &members {
                for number in 0..BURST_DATAGRAMS {
                    let datagram = next(member)?;
                    ensure!(datagram == number.to_be_bytes(), "{datagram:?} comes at place {number} of {group}");
                }
            }
        }
        heard.wait_for_frame("igmp v3 report")?;
        heard.wait_for_frame("listener report v2")?;
        Ok(())
    });
}

/// RFC 6762: questions and answers alike are for everybody.
#[test]
fn a_name_is_found_by_multicast_dns() {
    on_segments(|_, segment| {
        let Segment { a, b, c, .. } = segment;
        for guest in segment.guests() {
            link_local(guest)?;
        }
        for group in MDNS_GROUPS {
            let [asks, listens, answers] = [a, b, c].map(|guest| member(guest, group, MDNS_PORT));
            let (asks, listens, answers) = (asks?, listens?, answers?);
            let (question, answer) = (question("c"), answer("c", c.address));
            let to = SocketAddr::from((group, MDNS_PORT));
            asks.send_to(&question, to)?;
            ensure!(next(&answers)? == question && next(&listens)? == question, "another question");
            answers.send_to(&answer, to)?;
            ensure!(next(&asks)? == answer && next(&listens)? == answer, "another answer");
        }
        Ok(())
    });
}

/// What a guest binds a socket to that sends to a group.
fn own_address(guest: &Guest, group: IpAddr) -> IpAddr {
    match group {
        IpAddr::V4(_) => guest.address.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Who has NAME.local?
fn question(name: &str) -> Vec<u8> {
    let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], &domain(name), &[0, 1, 0, 1]].concat()
}

/// That has it, and nobody else.
fn answer(name: &str, address: Ipv4Addr) -> Vec<u8> {
    let header = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    [&header[..], &domain(name), &[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4], &address.octets()].concat()
}

fn domain(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8][..], label.as_bytes()].concat();
    [label(name), label("local"), vec![0]].concat()
}
