//! Packets of more than the network's MTU: dropped, and answered where IP has words for that.

use std::net::Ipv6Addr;

use super::*;
use crate::tests::frames::checksum;

const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const TOO_BIG_OCTETS: usize = MTU_BYTES as usize + 1;

/// Somebody who is known to nobody.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const NEAR_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const FAR_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// A packet that is one octet too big, with this after its header and numbers in the rest.
fn packet(header: &[u8], after: &[u8]) -> Vec<u8> {
    let mut packet = [header, after].concat();
    packet.extend((packet.len()..TOO_BIG_OCTETS).map(|at| (at % 251) as u8));
    packet
}

fn ipv4(fragment: u16, protocol: u8, from: Ipv4Addr, to: Ipv4Addr, after: &[u8]) -> Vec<u8> {
    let mut header = [&[0x45, 0][..], &(TOO_BIG_OCTETS as u16).to_be_bytes(), &[0, 1]].concat();
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend([from.octets(), to.octets()].concat());
    packet(&header, after)
}

fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, after: &[u8]) -> Vec<u8> {
    let octets = TOO_BIG_OCTETS as u16 - 40;
    let mut header = [&[0x6a, 0xbc, 0xde, 0xff][..], &octets.to_be_bytes(), &[next, 64]].concat();
    header.extend([from.octets(), to.octets()].concat());
    packet(&header, after)
}

impl Scene {
    fn too_big(&self, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        ethernet(self.b.mac, self.a.mac, ethertype, packet)
    }

    /// What a is told about the packet, which nobody else gets.
    #[track_caller]
    fn answers(&mut self, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let before = self.host.counters(self.a.mac);
        let (verdict, answer) = self.judge(&self.too_big(ethertype, packet));
        assert_eq!(verdict, REDIRECT);
        let after = self.host.counters(self.a.mac);
        let too_big = |counters: &crate::PortCounters| counters.drops.get("too-big").copied().unwrap_or_default();
        assert_eq!(after.icmp_replies, before.icmp_replies + 1);
        assert_eq!(after.received_frames, before.received_frames + 1);
        assert_eq!((too_big(&after), after.sent_frames), (too_big(&before) + 1, before.sent_frames));
        assert_eq!(self.host.counters(self.b.mac).received_frames, 0);
        assert_eq!(answer[..14], ethernet(self.a.mac, self.b.mac, ethertype, &[]));
        answer[14..].to_vec()
    }
}

#[test]
fn an_ipv4_packet_that_must_not_be_fragmented_is_answered_with_the_mtu() {
    let mut scene = Scene::unmanaged();
    let sent = ipv4(DONT_FRAGMENT, UDP, scene.a.address, FAR, &[]);
    let answer = scene.answers(IPV4, &sent);
    let (header, icmp) = answer.split_at(20);
    assert_eq!((header[0], header[9], checksum(header)), (0x45, ICMP, 0));
    assert_eq!(header[2..4], (answer.len() as u16).to_be_bytes());
    assert_eq!(header[12..], [FAR.octets(), scene.a.address.octets()].concat());
    assert_eq!((icmp[0], icmp[1], checksum(icmp)), (3, 4, 0));
    assert_eq!(icmp[4..8], [&[0, 0][..], &(MTU_BYTES as u16).to_be_bytes()].concat());
    let quote = &icmp[8..];
    assert_eq!(quote, &sent[..quote.len()]);
    assert!((28..=576 - 28).contains(&quote.len()), "{}", quote.len());
}

#[test]
fn an_ipv6_packet_is_answered_with_the_mtu_and_as_much_of_it_as_there_is_place_for() {
    let mut scene = Scene::unmanaged();
    let sent = ipv6(UDP, NEAR_IPV6, FAR_IPV6, &[]);
    let answer = scene.answers(IPV6, &sent);
    assert_eq!(answer.len(), 1280);
    let (header, icmp) = answer.split_at(40);
    assert_eq!(header[..4], [0x60, 0, 0, 0]);
    assert_eq!(header[4..6], (icmp.len() as u16).to_be_bytes());
    assert_eq!(header[6], ICMPV6);
    assert_eq!(header[8..], [FAR_IPV6.octets(), NEAR_IPV6.octets()].concat());
    assert_eq!(icmp[..2], [2, 0]);
    assert_eq!(icmp[4..8], MTU_BYTES.to_be_bytes());
    assert_eq!(icmp[8..], sent[..icmp.len() - 8]);
    let pseudo_header = [&header[8..], &(icmp.len() as u32).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    assert_eq!(checksum(&[&pseudo_header, icmp].concat()), 0);
}

#[test]
fn first_fragments_and_questions_are_answered() {
    let mut scene = Scene::unmanaged();
    let a = scene.a.address;
    scene.answers(IPV4, &ipv4(DONT_FRAGMENT | MORE_FRAGMENTS, UDP, a, FAR, &[]));
    scene.answers(IPV4, &ipv4(DONT_FRAGMENT, ICMP, a, FAR, &[8]));
    scene.answers(IPV6, &ipv6(FRAGMENT, NEAR_IPV6, FAR_IPV6, &[UDP, 0, 0, 1, 0, 0, 0, 1]));
    scene.answers(IPV6, &ipv6(HOP_BY_HOP, NEAR_IPV6, FAR_IPV6, &[ICMPV6, 0, 1, 4, 0, 0, 0, 0, 128]));
}

#[test]
fn what_icmp_must_not_answer_is_dropped_and_counted_alone() {
    let mut scene = Scene::unmanaged();
    let a = scene.a.address;
    let loopback = Ipv4Addr::LOCALHOST;
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let unanswered = [
        ("may be fragmented", ipv4(0, UDP, a, FAR, &[])),
        ("a later fragment", ipv4(DONT_FRAGMENT | 1, UDP, a, FAR, &[])),
        ("from nobody", ipv4(DONT_FRAGMENT, UDP, Ipv4Addr::UNSPECIFIED, FAR, &[])),
        ("from a host to itself", ipv4(DONT_FRAGMENT, UDP, loopback, FAR, &[])),
        ("to a host itself", ipv4(DONT_FRAGMENT, UDP, a, loopback, &[])),
        ("from a group", ipv4(DONT_FRAGMENT, UDP, group, FAR, &[])),
        ("to a group", ipv4(DONT_FRAGMENT, UDP, a, group, &[])),
        ("to all", ipv4(DONT_FRAGMENT, UDP, a, Ipv4Addr::BROADCAST, &[])),
        ("no IPv4", packet(&[0x65], &[])),
    ];
    let errors = [3, 4, 5, 11, 12].map(|kind| ("an error", ipv4(DONT_FRAGMENT, ICMP, a, FAR, &[kind])));
    for (what, packet) in unanswered.into_iter().chain(errors) {
        eprintln!("{what}");
        scene.drops(&scene.too_big(IPV4, &packet), "too-big");
    }
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let hidden_error = [ICMPV6, 0, 1, 4, 0, 0, 0, 0, 1];
    let unanswered_ipv6 = [
        ("from nobody", ipv6(UDP, Ipv6Addr::UNSPECIFIED, FAR_IPV6, &[])),
        ("from a host to itself", ipv6(UDP, Ipv6Addr::LOCALHOST, FAR_IPV6, &[])),
        ("from a group", ipv6(UDP, all_nodes, FAR_IPV6, &[])),
        ("to a group", ipv6(UDP, NEAR_IPV6, all_nodes, &[])),
        ("an error", ipv6(ICMPV6, NEAR_IPV6, FAR_IPV6, &[2])),
        ("an error behind a header", ipv6(HOP_BY_HOP, NEAR_IPV6, FAR_IPV6, &hidden_error)),
        ("a later fragment", ipv6(FRAGMENT, NEAR_IPV6, FAR_IPV6, &[UDP, 0, 0, 8, 0, 0, 0, 1])),
        ("no IPv6", packet(&[0x45], &[])),
    ];
    for (what, packet) in unanswered_ipv6 {
        eprintln!("{what}");
        scene.drops(&scene.too_big(IPV6, &packet), "too-big");
    }
    let to_all = ethernet(BROADCAST, scene.a.mac, IPV4, &ipv4(DONT_FRAGMENT, UDP, a, FAR, &[]));
    scene.drops(&to_all, "too-big");
    assert_eq!(scene.host.counters(scene.a.mac).icmp_replies, 0);
}

#[test]
fn answers_are_limited() {
    let mut scene = Scene::unmanaged();
    let frame = scene.too_big(IPV4, &ipv4(DONT_FRAGMENT, UDP, scene.a.address, FAR, &[]));
    let answered = (0..10_000).take_while(|_| scene.judge(&frame).0 == REDIRECT).count();
    // Enough for an instance that opens many connections at once.
    assert!((50..10_000).contains(&answered), "{answered}");
    scene.host.forget_budgets();
    assert_eq!(scene.judge(&frame).0, REDIRECT);
}
