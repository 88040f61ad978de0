//! What a network carries, to whom, and what it keeps apart.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use privnet_lab::{Capture, Instance, Lab};
use serde_json::json;

use crate::support::{
    BROADCAST, Guest, OVERLAY_MTU_BYTES, assert_mesh, frame, hosts, in_lab, managed, octets, udp_packet,
};
use privnet_lab::bpf::Map;
use privnet_lab::invariants;

/// For experiments (IEEE 802 local experimental ethertype 1): nothing but these tests sends it.
const EXPERIMENT: u16 = 0x88b5;

/// The same as a capture filter.
const EXPERIMENTS: &str = "ether proto 0x88b5";

/// The same inside VXLAN, as seen in the underlay.
const ENCAPSULATED_EXPERIMENTS: &str = "udp dst port 4789 and udp[28:2] = 0x88b5";

#[test]
fn all_guests_of_a_network_reach_each_other_on_one_host_and_across_three() {
    in_lab(hosts(3), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_all(lab, &network, "red", &[1, 1, 2, 3])?;
        assert_mesh(&guests)?;
        invariants::hold(lab)
    });
}

#[test]
fn success_means_that_every_host_has_applied_the_change() {
    in_lab(hosts(3), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let residents = join_all(lab, &network, "resident", &[1, 2, 3])?;
        let tables = lab.hosts().iter().map(|host| Map::of_host(host, "fdb")).collect::<Result<Vec<_>>>()?;
        for round in 0..9 {
            let instance = lab.add_instance(&format!("guest-{round}"), 1 + round % 3)?;
            lab.api().attach(&network, &instance.id, None)?;
            let known = tables.iter().map(Map::keys).collect::<Result<Vec<_>>>()?;
            let guest = Guest::attach(lab, &network, instance)?;
            let about_guest = |keys: &Vec<Vec<u8>>| keys.iter().any(|key| contains(key, &octets(&guest.mac)));
            ensure!(known.iter().all(about_guest), "a host does not know {} in round {round}", guest.mac);
            for resident in &residents {
                // The very first packet.
                let answered = resident.instance.namespace.ping(guest.address, 1)?;
                ensure!(answered == 1, "{} does not answer {}", guest.instance.name, resident.instance.name);
            }
            lab.api().detach(&network, &guest.instance.id)?;
            let known = tables.iter().map(Map::keys).collect::<Result<Vec<_>>>()?;
            ensure!(!known.iter().any(about_guest), "a host still knows {} in round {round}", guest.mac);
        }
        Ok(())
    });
}

#[test]
fn nothing_crosses_while_ports_come_and_go_and_agents_die() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let reds = join_all(lab, &red, "red", &[1, 2])?;
        let instances = [1, 2, 1, 2].map(|host| lab.add_instance("passer-by", host));
        let instances = instances.into_iter().collect::<Result<Vec<_>>>()?;
        // From before they have a device, on whatever devices they will have.
        let seen = instances.iter().map(|one| lab.capture(&one.namespace, "any", "not (ip or ip6 or arp)"));
        let seen = seen.collect::<Result<Vec<_>>>()?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for red in &reds {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        red.send(BROADCAST, EXPERIMENT, b"to all of red").expect("sent");
                    }
                });
            }
            let churned = churn(lab, &instances);
            stop.store(true, Ordering::Relaxed);
            churned
        })?;
        lab.wait_for_agents()?;
        // The captures would have seen it: they see this.
        let last = lab.api().create_network(&managed("last"))?;
        let guests = instances.into_iter().map(|instance| Guest::attach(lab, &last, instance));
        let guests = guests.collect::<Result<Vec<_>>>()?;
        guests[0].send(BROADCAST, EXPERIMENT, b"to all of the last")?;
        for capture in seen {
            capture.wait_for_frame(&guests[0].mac)?;
            let frames = capture.stop()?;
            let of_red = |line: &&String| reds.iter().any(|red| line.contains(&red.mac));
            let crossed: Vec<_> = frames.iter().filter(of_red).collect();
            ensure!(crossed.is_empty(), "frames of red are seen outside: {crossed:#?}");
        }
        invariants::hold(lab)
    });
}

/// Attaches instances to networks that come and go, while the agents are killed now and then.
fn churn(lab: &mut Lab, instances: &[Instance]) -> Result<()> {
    for round in 0..12 {
        let network = lab.api().create_network(&managed("passing"))?;
        for instance in instances {
            lab.api().attach(&network, &instance.id, None)?;
        }
        if round % 4 == 3 {
            let host = 1 + round / 4 % 2;
            lab.kill_agent(host);
            lab.start_agent(host)?;
        }
        for instance in instances {
            lab.api().detach(&network, &instance.id)?;
        }
        lab.api().delete_network(&network)?;
    }
    Ok(())
}

#[test]
fn networks_with_the_same_addresses_on_the_same_hosts_do_not_meet() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let blue = lab.api().create_network(&managed("blue"))?;
        let reds = join_all(lab, &red, "red", &[1, 1, 2])?;
        let blues = join_all(lab, &blue, "blue", &[1, 1, 2])?;
        let addresses = |guests: &[Guest]| guests.iter().map(|guest| guest.address).collect::<Vec<_>>();
        ensure!(addresses(&reds) == addresses(&blues), "the networks do not have the same addresses");
        let of_reds = reds.iter().map(|red| format!("ether src {}", red.mac)).collect::<Vec<_>>().join(" or ");
        let in_blue = capture_all(lab, &blues, &format!("{of_reds} or {EXPERIMENTS}"))?;

        assert_mesh(&reds)?;
        let in_red = capture_all(lab, &reds[1..], EXPERIMENTS)?;
        reds[0].send(&blues[0].mac, EXPERIMENT, b"to a MAC of blue on this host")?;
        reds[0].send(&blues[2].mac, EXPERIMENT, b"to a MAC of blue on the other host")?;
        reds[0].send(BROADCAST, EXPERIMENT, b"to all of red")?;
        for capture in &in_red {
            capture.wait_for_frame(&reds[0].mac)?;
        }
        // Whatever would have come to blue has come before this.
        blues[0].send(BROADCAST, EXPERIMENT, b"to all of blue")?;
        for capture in &in_blue[1..] {
            capture.wait_for_frame(&blues[0].mac)?;
        }
        for capture in in_blue {
            let frames = capture.stop()?;
            ensure!(frames.iter().all(|line| line.contains(&blues[0].mac)), "blue sees red: {frames:#?}");
        }
        invariants::hold(lab)
    });
}

#[test]
fn a_broadcast_reaches_exactly_the_members_once_and_only_their_hosts() {
    in_lab(hosts(3), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let blue = lab.api().create_network(&managed("blue"))?;
        let reds = join_all(lab, &red, "red", &[1, 1, 2, 2])?;
        let blues = join_all(lab, &blue, "blue", &[1, 2, 3])?;
        let at_reds = capture_all(lab, &reds, EXPERIMENTS)?;
        let at_blues = capture_all(lab, &blues, EXPERIMENTS)?;
        let underlay = lab.underlay().expect("a started lab has one").clone();
        let to_h2 = lab.capture(&underlay, "h2", ENCAPSULATED_EXPERIMENTS)?;
        let to_h3 = lab.capture(&underlay, "h3", ENCAPSULATED_EXPERIMENTS)?;

        let groups = [BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01"];
        for group in groups {
            reds[0].send(group, EXPERIMENT, b"to all of red")?;
            for at_red in &at_reds[1..] {
                at_red.wait_for_frame(group)?;
            }
        }
        // Whatever would have come to blue, and to h3, has come before this.
        blues[0].send(BROADCAST, EXPERIMENT, b"to all of blue")?;
        for at_blue in &at_blues[1..] {
            at_blue.wait_for_frame(&blues[0].mac)?;
        }
        for (at, capture) in at_reds.into_iter().enumerate() {
            let frames = capture.stop()?;
            // The sender's capture has what it sent itself, and nothing comes back.
            ensure!(frames.len() == groups.len(), "red-{at} sees {frames:#?}");
        }
        for (at, capture) in at_blues.into_iter().enumerate() {
            let frames = capture.stop()?;
            ensure!(frames.len() == 1, "blue-{at} sees {frames:#?}");
        }
        let (to_h2, to_h3) = (to_h2.stop()?, to_h3.stop()?);
        ensure!(to_h2.len() == groups.len() + 1, "one copy of each for h2 is expected: {to_h2:#?}");
        ensure!(to_h3.len() == 1, "only blue's is for h3: {to_h3:#?}");
        Ok(())
    });
}

#[test]
fn an_unmanaged_network_carries_any_protocol_and_any_address() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&json!({"name": "grey"}))?;
        let mut guests = Vec::new();
        for (host, address) in [(1, Ipv4Addr::new(192, 168, 7, 1)), (2, Ipv4Addr::new(192, 168, 7, 2))] {
            let instance = lab.add_instance(&format!("grey-{host}"), host)?;
            guests.push(Guest::attach_unmanaged(lab, &network, instance, address)?);
        }
        assert_mesh(&guests)?;
        for (guest, address) in guests.iter().zip(["fd00::1", "fd00::2"]) {
            guest.instance.namespace.ip(&format!("address add {address}/64 dev {} nodad", guest.device))?;
        }
        let [one, two] = &guests[..] else { panic!("two guests") };
        ensure!(one.instance.namespace.reaches("fd00::2".parse::<std::net::Ipv6Addr>()?)?, "IPv6 does not pass");
        // Any ethertype, a rogue's DHCP answer as well: here DHCP is the tenants' own business.
        let seen = lab.capture(&two.instance.namespace, &two.device, "ether proto 0x88b5 or udp src port 67")?;
        one.send(&two.mac, EXPERIMENT, b"unicast")?;
        one.send(BROADCAST, 0x0800, &udp_packet((one.address, 67), (Ipv4Addr::BROADCAST, 68), b"an offer"))?;
        seen.wait_for_frame("0x88b5")?;
        seen.wait_for_frame("192.168.7.1.67 > 255.255.255.255.68")?;
        invariants::hold(lab)
    });
}

#[test]
fn a_packet_of_1450_octets_passes_in_one_piece_and_one_of_1451_does_not() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_all(lab, &network, "red", &[1, 2, 1])?;
        for to in &guests[1..] {
            ensure!(guests[0].reaches(to)?, "no way to {}", to.instance.name);
            let sized = |octets| guests[0].instance.namespace.ping_sized(to.address, octets);
            ensure!(sized(OVERLAY_MTU_BYTES)?, "{OVERLAY_MTU_BYTES} octets do not pass to {}", to.instance.name);
            ensure!(!sized(OVERLAY_MTU_BYTES + 1)?, "more than {OVERLAY_MTU_BYTES} octets pass");
        }
        Ok(())
    });
}

#[test]
fn who_has_a_leased_address_is_answered_without_asking_its_holder() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_all(lab, &network, "red", &[1, 2, 1])?;
        let asked = guests[1..].iter().map(|guest| {
            lab.capture(
                &guest.instance.namespace,
                &guest.device,
                &format!("ether src {} and (arp or icmp)", guests[0].mac),
            )
        });
        let asked = asked.collect::<Result<Vec<_>>>()?;
        for (to, capture) in guests[1..].iter().zip(asked) {
            ensure!(guests[0].reaches(to)?, "no way to {}", to.instance.name);
            let frames = capture.stop()?;
            ensure!(frames.iter().any(|line| line.contains("ICMP echo request")), "no ping: {frames:#?}");
            ensure!(!frames.iter().any(|line| line.contains("who-has")), "its holder is asked: {frames:#?}");
        }
        // The DHCP server has an address and no host: nothing answers pings there, but ARP is answered.
        let namespace = &guests[0].instance.namespace;
        namespace.ping(Ipv4Addr::new(10, 0, 0, 254), 1)?;
        let neighbor = namespace.ip("neigh show 10.0.0.254")?;
        ensure!(neighbor.contains("lladdr 0e:00:00:00:00:00"), "the DHCP server's MAC is not known: {neighbor}");
        Ok(())
    });
}

#[test]
fn a_frame_with_a_foreign_source_mac_goes_nowhere() {
    in_lab(hosts(2), |lab| {
        for body in [managed("managed"), json!({"name": "unmanaged"})] {
            let network = lab.api().create_network(&body)?;
            let guests = [1, 1, 2].map(|host| join_any(lab, &network, host));
            let [from, near, far] = guests.map(|guest| guest.expect("joined"));
            let at_near = lab.capture(&near.instance.namespace, &near.device, EXPERIMENTS)?;
            let at_far = lab.capture(&far.instance.namespace, &far.device, EXPERIMENTS)?;
            let underlay = lab.underlay().expect("a started lab has one").clone();
            let on_the_way = lab.capture(&underlay, "h1", ENCAPSULATED_EXPERIMENTS)?;
            // Nobody's, another guest's, another port's that is in the frame's way, a group's.
            for foreign in ["0a:00:00:00:00:99", &far.mac, &near.mac, "ff:ff:ff:ff:ff:ff"] {
                for to in [&near.mac, &far.mac, BROADCAST] {
                    let frame = frame(to, foreign, EXPERIMENT, b"spoofed");
                    from.instance.namespace.send_frame(&from.device, &frame)?;
                }
            }
            from.send(BROADCAST, EXPERIMENT, b"its own")?;
            for capture in [at_near, at_far, on_the_way] {
                capture.wait_for_frame(&from.mac)?;
                let frames = capture.stop()?;
                ensure!(frames.len() == 1, "spoofed frames pass: {frames:#?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_rogue_dhcp_server_in_a_managed_network_is_not_heard() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_all(lab, &network, "red", &[1, 1, 2])?;
        let captures = capture_all(lab, &guests[1..], &format!("ether src {} and udp", guests[0].mac))?;
        for to in &guests[1..] {
            let rogue = |ip, mac: &str| {
                guests[0].send(mac, 0x0800, &udp_packet((guests[0].address, 67), (ip, 68), b"an offer"))
            };
            rogue(Ipv4Addr::BROADCAST, BROADCAST)?;
            rogue(to.address, &to.mac)?;
            guests[0].send(&to.mac, 0x0800, &udp_packet((guests[0].address, 6767), (to.address, 68), b"no offer"))?;
        }
        for capture in captures {
            capture.wait_for_frame(".6767 > ")?;
            let frames = capture.stop()?;
            ensure!(frames.len() == 1, "the rogue is heard: {frames:#?}");
        }
        Ok(())
    });
}

#[test]
fn a_guest_that_leaves_is_gone_for_the_others_and_may_return() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_all(lab, &network, "red", &[1, 1, 2])?;
        let pinger = lab.pinger(&guests[0].instance.namespace, guests[1].address, Duration::from_millis(5))?;
        let leaver = guests.pop().expect("three guests");
        lab.api().detach(&network, &leaver.instance.id)?;
        ensure!(!leaver.instance.namespace.has_device(&leaver.device)?, "the device is still there");
        ensure!(guests[0].instance.namespace.ping(leaver.address, 1)? == 0, "somebody answers in its place");
        invariants::hold(lab)?;

        let returned = Guest::attach(lab, &network, leaver.instance)?;
        ensure!(returned.mac != leaver.mac, "a port's MAC is the port's for its life, not the instance's");
        guests.push(returned);
        assert_mesh(&guests)?;
        ensure!(pinger.stop()? > 0, "the others were not disturbed");
        invariants::hold(lab)
    });
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

fn join_all(lab: &mut Lab, network: &str, name: &str, on: &[usize]) -> Result<Vec<Guest>> {
    on.iter().enumerate().map(|(at, host)| Guest::join(lab, network, &format!("{name}-{at}"), *host)).collect()
}

/// An instance in a managed or an unmanaged network; its address, if it has none, does not matter.
fn join_any(lab: &mut Lab, network: &str, host: usize) -> Result<Guest> {
    let instance = lab.add_instance("guest", host)?;
    Guest::attach_unmanaged(lab, network, instance, Ipv4Addr::new(10, 9, 9, 9))
}

fn capture_all(lab: &mut Lab, guests: &[Guest], filter: &str) -> Result<Vec<Capture>> {
    guests.iter().map(|guest| lab.capture(&guest.instance.namespace, &guest.device, filter)).collect()
}
