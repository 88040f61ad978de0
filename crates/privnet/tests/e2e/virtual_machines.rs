//! Instances whose ports are taps, which a monitor opens for the kernel of a guest.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privnet_lab::{DhcpClientKind, Instance, Lab, Machine, VNET_HEADER_OCTETS, internet_checksum, invariants};

use serde_json::json;
use ureq::http::Method;

use crate::support::{
    BROADCAST, Guest, OVERLAY_MTU_BYTES, counters, eventually, frame, hosts, in_lab, managed, octets, port_mac, text,
    udp_packet,
};

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
/// For experiments (IEEE 802 local experimental ethertype 1): nothing but these tests sends it.
const EXPERIMENT: u16 = 0x88b5;
/// A frame that is whole.
const WHOLE: [u8; VNET_HEADER_OCTETS] = [0; VNET_HEADER_OCTETS];

const STREAM_OCTETS: usize = 8 << 20;
/// What comes at all comes well within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A virtual machine in a network, on, with the address that it was leased.
struct Vm {
    instance: Instance,
    machine: Machine,
    mac: String,
    address: Ipv4Addr,
}

impl Vm {
    fn join(lab: &mut Lab, network: &str, name: &str, host: usize) -> Result<Self> {
        let instance = lab.add_machine(name, host)?;
        let leased = lab.api().attach(network, &instance.id, None)?.context("a managed network leases an address")?;
        let (mac, address) = (port_mac(lab.api(), network, &instance.id)?, leased.parse()?);
        let machine = lab.switch_on(&instance)?;
        let vm = Self { instance, machine, mac, address };
        vm.boot(lab)?;
        Ok(vm)
    }

    /// The guest asks for its address. What it does then is not wanted here, so its client goes again.
    fn boot(&self, lab: &mut Lab) -> Result<()> {
        let client = lab.dhcp_client(&self.instance, "net0", DhcpClientKind::Udhcpc)?;
        client.wait_for_address(self.address)?;
        eventually("the device has the address", || Ok(self.instance.namespace.addresses("net0")? == [self.address]))
    }

    /// As when it is switched off and on, on whatever host it is then.
    fn reboot(self, lab: &mut Lab, host: usize) -> Result<Self> {
        let Self { mut instance, machine, mac, address } = self;
        machine.off();
        instance.host = host;
        let machine = lab.switch_on(&instance)?;
        let vm = Self { instance, machine, mac, address };
        vm.boot(lab)?;
        Ok(vm)
    }

    fn reaches(&self, address: Ipv4Addr) -> Result<bool> {
        self.instance.namespace.reaches(address)
    }
}

#[test]
fn a_virtual_machine_gets_its_address_and_reaches_the_others_whenever_it_is_on() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let near = Guest::join(lab, &network, "near", 1)?;
        let far = Guest::join(lab, &network, "far", 2)?;
        let mut vm = Vm::join(lab, &network, "vm", 1)?;
        let other = Vm::join(lab, &network, "other", 2)?;
        for reboot in 0..3 {
            for address in [near.address, far.address, other.address] {
                ensure!(vm.reaches(address)?, "{address} is not reached after {reboot} reboots");
            }
            ensure!(far.instance.namespace.reaches(vm.address)? && other.reaches(near.address)?);
            ensure!(vm.instance.namespace.ping_sized(far.address, OVERLAY_MTU_BYTES)?, "a full packet");
            ensure!(!vm.instance.namespace.ping_sized(far.address, OVERLAY_MTU_BYTES + 1)?, "one octet more");
            vm = vm.reboot(lab, 1)?;
        }
        lab.privnet(&["instance", "reboot", "vm"])?;
        ensure!(vm.reaches(far.address)?, "a reboot by its host leaves a machine its tap");
        vm.machine.off();
        ensure!(!near.instance.namespace.ping_sized(vm.address, 100)?, "nobody is there");
        ensure!(far.reaches(&near)?);
        invariants::hold(lab)
    });
}

/// What one kernel leaves to be segmented reaches the other one whole.
#[test]
fn streams_cross_in_large_frames_from_guest_to_guest() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let near = Vm::join(lab, &network, "near", 1)?;
        let far = Vm::join(lab, &network, "far", 2)?;
        let namespace = Guest::join(lab, &network, "namespace", 2)?;
        for other in [&near, &far] {
            for (from, to) in [(&vm, other), (other, &vm)] {
                let before = [from.machine.large_frames(), to.machine.large_frames()];
                stream(&from.instance, &to.instance, to.address)?;
                let after = [from.machine.large_frames(), to.machine.large_frames()];
                let [left, came] = [after[0][1] - before[0][1], after[1][0] - before[1][0]];
                ensure!(left > 0 && came > 0, "{left} large frames left, {came} came to {}", to.instance.name);
            }
        }
        stream(&vm.instance, &namespace.instance, namespace.address)?;
        stream(&namespace.instance, &vm.instance, vm.address)
    });
}

fn stream(from: &Instance, to: &Instance, address: Ipv4Addr) -> Result<()> {
    let sent: Vec<u8> = (0..STREAM_OCTETS).map(|number| (number % 251) as u8).collect();
    let listener = to.namespace.within(|| Ok(TcpListener::bind((address, 0))?))?;
    let at = listener.local_addr()?;
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(move || -> Result<Vec<u8>> {
            let mut received = Vec::new();
            let mut stream = listener.accept()?.0;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_end(&mut received)?;
            Ok(received)
        });
        let mut stream = from.namespace.within(|| Ok(TcpStream::connect_timeout(&at, PATIENCE)?))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&sent)?;
        drop(stream);
        receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    ensure!(received == sent, "{} octets came, and not those that were sent", received.len());
    Ok(())
}

/// Small ones by the fast lane, with the checksum left to whoever takes them out; large ones in fragments.
#[test]
fn datagrams_cross_with_right_checksums() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let near = Vm::join(lab, &network, "near", 1)?;
        let far = Vm::join(lab, &network, "far", 2)?;
        let namespace = Guest::join(lab, &network, "namespace", 2)?;
        let namespaces =
            [(&near.instance, near.address), (&far.instance, far.address), (&namespace.instance, namespace.address)];
        for (other, address) in namespaces {
            for octets in [1, 100, 1400, 8000] {
                datagram(&vm.instance, other, address, octets)?;
                datagram(other, &vm.instance, vm.address, octets)?;
            }
        }
        for (other, _) in namespaces {
            let errors = other.namespace.run("nstat", &["-asz", "UdpInCsumErrors", "IpInHdrErrors"])?;
            ensure!(
                !errors
                    .lines()
                    .any(|line| line.split_whitespace().nth(1).is_some_and(|n| n != "0" && n.parse::<u64>().is_ok())),
                "{errors}"
            );
        }
        Ok(())
    });
}

fn datagram(from: &Instance, to: &Instance, address: Ipv4Addr, octets: usize) -> Result<()> {
    let sent: Vec<u8> = (0..octets).map(|number| (number % 251) as u8).collect();
    let receiver = to.namespace.within(|| Ok(UdpSocket::bind((address, 0))?))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let at = receiver.local_addr()?;
    from.namespace.within(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(&sent, at)?))?;
    let mut received = vec![0; 65536];
    let count = receiver.recv(&mut received).with_context(|| format!("{octets} octets to {address}"))?;
    ensure!(received[..count] == sent, "what comes to {address} is not what was sent");
    Ok(())
}

#[test]
fn a_virtual_machine_moves_to_another_host() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let [near, far] = [("near", 1), ("far", 2)].map(|(name, host)| Guest::join(lab, &network, name, host));
        let (near, far) = (near?, far?);
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let path = format!("/privnet/v1/instances/{}:move", vm.instance.id);
        let moved = lab.api().operate(Method::PUT, &path, Some(&json!({"host": "h2"})))?;
        ensure!(moved["state"] == "success", "{moved}");
        let tap = privnet_lab::invariants::device_of(&vm.mac);
        ensure!(!lab.host(1).namespace.has_device(&tap)?, "the tap is gone though it is open");
        let vm = vm.reboot(lab, 2)?;
        ensure!(vm.reaches(near.address)? && vm.reaches(far.address)?);
        invariants::hold(lab)
    });
}

#[test]
fn a_virtual_machine_loses_nothing_when_its_hosts_agent_dies_and_returns() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let far = Guest::join(lab, &network, "far", 2)?;
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let mut pinger = lab.pinger(&vm.instance.namespace, far.address, Duration::from_millis(5))?;
        lab.kill_agent(1);
        pinger.wait_for_answers(20)?;
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        pinger.wait_for_answers(20)?;
        pinger.stop()?;
        invariants::hold(lab)
    });
}

#[test]
fn a_tap_that_was_removed_by_hand_is_made_anew() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let near = Guest::join(lab, &network, "near", 1)?;
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let tap = invariants::device_of(&vm.mac);
        lab.host(1).namespace.ip(&format!("link delete dev {tap}"))?;
        eventually("the tap is there again", || lab.host(1).namespace.has_device(&tap))?;
        invariants::hold(lab)?;
        let vm = vm.reboot(lab, 1)?;
        ensure!(vm.reaches(near.address)?);
        Ok(())
    });
}

/// What a guest may write into its queues is judged, and what is no frame is refused by the kernel.
#[test]
fn what_a_hostile_guest_sends_goes_nowhere_and_is_counted() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let near = Guest::join(lab, &network, "near", 1)?;
        let far = Guest::join(lab, &network, "far", 2)?;
        let evil = Vm::join(lab, &network, "evil", 1)?;
        let machine = &evil.machine;
        let ears = [&near, &far].map(|guest| {
            let words = format!("ether proto {EXPERIMENT:#x} or udp src port 67");
            lab.capture(&guest.instance.namespace, &guest.device, &words)
        });

        let mut expected = BTreeMap::<String, u64>::new();
        let mut dropped = |reason: &str, frame: &[u8]| {
            *expected.entry(reason.to_owned()).or_default() += 1;
            machine.send(WHOLE, frame).with_context(|| format!("{reason}, {} octets", frame.len()))
        };
        for to in [near.mac.as_str(), far.mac.as_str(), BROADCAST] {
            dropped("spoofed-mac", &frame(to, &near.mac, EXPERIMENT, &[0; 46]))?;
            dropped("spoofed-mac", &frame(to, "00:00:00:00:00:00", EXPERIMENT, &[0; 46]))?;
            let answer = udp_packet((Ipv4Addr::new(10, 0, 0, 254), 67), (near.address, 68), &[0; 300]);
            dropped("rogue-dhcp", &frame(to, &evil.mac, IPV4, &answer))?;
            dropped("too-big", &frame(to, &evil.mac, EXPERIMENT, &vec![0; OVERLAY_MTU_BYTES as usize + 1]))?;
        }
        dropped("too-big", &frame(&far.mac, &evil.mac, EXPERIMENT, &vec![0; 60_000]))?;
        dropped("unknown-unicast", &frame("02:00:00:00:00:01", &evil.mac, EXPERIMENT, &[0; 46]))?;
        for octet in 0..=255 {
            dropped("spoofed-mac", &[octet | 1; 60])?;
        }
        expect_refused(machine, &frame(&far.mac, &evil.mac, EXPERIMENT, &[0; 46]));

        let drops = counters(lab, 1)?.drops(&evil.mac)?;
        ensure!(drops == json!(expected), "{drops}, expected {expected:?}");
        let last = frame(&far.mac, &evil.mac, EXPERIMENT, &[0; 46]);
        machine.send(WHOLE, &last)?;
        machine.send(WHOLE, &frame(&near.mac, &evil.mac, EXPERIMENT, &last[14..]))?;
        for ears in ears {
            let ears = ears?;
            ears.wait_for_frame("(0x88b5)")?;
            let heard = ears.stop()?;
            ensure!(heard.len() == 1, "{heard:#?}");
        }
        ensure!(evil.reaches(near.address)? && evil.reaches(far.address)?);
        invariants::hold(lab)
    });
}

/// A checksum is written where the header in front of a frame says, after the programs of the sender's host have judged
/// the frame. The host that it comes to judges it again. Here the kernel of the sender's host writes it, as where a
/// network card does not.
#[test]
fn what_a_checksum_makes_of_a_frame_reaches_nobody_on_another_host() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let far = Guest::join(lab, &network, "far", 2)?;
        let machine = Vm::join(lab, &network, "machine", 1)?;
        let namespace = Guest::join(lab, &network, "namespace", 1)?;
        let host = lab.host(1);
        host.namespace.without_tx_checksum(host.underlay_device)?;
        let heard =
            lab.capture(&far.instance.namespace, &far.device, "udp dst port 68 or arp or ether proto 0x88b5")?;

        let mut sent = 0;
        for (mac, address, by_machine) in
            [(&machine.mac, machine.address, true), (&namespace.mac, namespace.address, false)]
        {
            let offer = udp_packet((address, 1000), (far.address, 68), &[0; 300]);
            let mut claim = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &octets(mac), &address.octets()].concat();
            claim.extend([&octets(&far.mac)[..], &far.address.octets(), &[0; 18]].concat());
            for to in [far.mac.as_str(), BROADCAST] {
                // The source port, and the last octets of the sender's MAC address.
                for (ethertype, payload, at, made) in [(IPV4, &offer, 34, 67), (ARP, &claim, 26, 0xbeef)] {
                    let (header, frame) = becoming(frame(to, mac, ethertype, payload), at, made);
                    if by_machine {
                        machine.machine.send(header, &frame)?;
                    } else {
                        namespace.instance.namespace.send_unfinished_frame(&namespace.device, header, &frame)?;
                    }
                }
                sent += 1;
            }
        }
        namespace.send(&far.mac, EXPERIMENT, b"the last")?;
        heard.wait_for_frame("(0x88b5)")?;
        let heard = heard.stop()?;
        ensure!(heard.len() == 1, "{heard:#?}");
        let senders = counters(lab, 1)?;
        for mac in [&machine.mac, &namespace.mac] {
            ensure!(senders.drops(mac)?.as_object().is_none_or(serde_json::Map::is_empty), "{:?}", senders.drops(mac)?);
        }
        let drops = counters(lab, 2)?.overlay["drops"].clone();
        ensure!(drops == json!({"rogue-dhcp": sent, "spoofed-arp": sent}), "{drops}");
        ensure!(far.reaches(&namespace)? && machine.reaches(far.address)?);
        invariants::hold(lab)
    });
}

/// A frame in which the checksum over all from `at` on, which goes there, comes to this; and the header that says so.
fn becoming(mut frame: Vec<u8>, at: usize, made: u16) -> ([u8; VNET_HEADER_OCTETS], Vec<u8>) {
    const NEEDS_CSUM: u8 = 1;
    let balance = u32::from(internet_checksum(&frame[at..])) + u32::from(!made);
    let last = frame.len() - 2;
    frame[last..].copy_from_slice(&((balance & 0xffff) + (balance >> 16)).to_be_bytes()[2..]);
    let mut header = [0; VNET_HEADER_OCTETS];
    header[0] = NEEDS_CSUM;
    header[6..8].copy_from_slice(&(at as u16).to_ne_bytes());
    (header, frame)
}

/// Headers that contradict their frames, and what is too short for a header or a frame.
fn expect_refused(machine: &Machine, whole: &[u8]) {
    const NEEDS_CSUM: u8 = 1;
    const GSO_TCPV4: u8 = 1;
    const GSO_UNKNOWN: u8 = 0x7f;
    let header = |flags: u8, gso_type: u8, numbers: [u16; 4]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        [&[flags, gso_type][..], &numbers].concat()
    };
    let mut all = vec![
        Vec::new(),
        vec![0; VNET_HEADER_OCTETS - 1],
        vec![0; VNET_HEADER_OCTETS],
        vec![0; VNET_HEADER_OCTETS + 13],
    ];
    for (flags, gso_type, numbers) in [
        // hdr_len, gso_size, csum_start, csum_offset
        (0, GSO_TCPV4, [0, 0, 0, 0]),
        (0, GSO_UNKNOWN, [54, 1000, 0, 0]),
        (NEEDS_CSUM, 0, [0, 0, u16::MAX, u16::MAX]),
        (NEEDS_CSUM, 0, [0, 0, 34, 60_000]),
        (NEEDS_CSUM, GSO_TCPV4, [u16::MAX, 1000, 34, 16]),
    ] {
        all.push([header(flags, gso_type, numbers), whole.to_vec()].concat());
    }
    for octets in all {
        machine.send_octets(&octets).expect_err("refused");
    }
}

/// As the page about virtual machines has it, up to the monitor's command line.
#[test]
fn the_command_line_says_what_a_monitor_needs_to_know() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let created = lab.privnet(&["instance", "create", "vm1", "--tap", "--owner", "64055", "--multi-queue"])?;
        for words in ["kind tap", "owner 64055", "queues several"] {
            ensure!(has_words(&created, words), "{words}: {created}");
        }
        lab.privnet(&["attach", "vm1", "red", "--device", "tap-vm1"])?;
        let instances = lab.api().get("/privnet/v1/instances")?;
        let instance = &instances["instances"][0];
        let mac = port_mac(lab.api(), &network, text(instance, "id"))?;
        let shown = lab.privnet(&["instance", "show", "vm1"])?;
        ensure!(has_words(&shown, &format!("red {network} {mac} tap-vm1 10.0.0.10")), "{shown}");
        // By that name a monitor finds it, and by the one that all ports have.
        let host = &lab.host(1).namespace;
        let link = host.ip("-details link show dev tap-vm1")?;
        let own = format!("{}:", invariants::device_of(&mac));
        ensure!(link.contains(&own) && link.contains("user 64055") && link.contains("multi_queue"), "{link}");
        lab.privnet(&["detach", "vm1", "red"])?;
        ensure!(!host.has_device("tap-vm1")?);
        invariants::hold(lab)
    });
}

#[test]
fn an_attach_says_what_is_wrong_with_a_tap_and_touches_nothing_of_others() {
    in_lab(hosts(1), |lab| {
        lab.api().create_network(&managed("red"))?;
        lab.host(1).namespace.ip("link add tap-vm1 type veth peer name peer")?;
        let before = lab.host(1).namespace.ip("-details link show dev tap-vm1")?;
        lab.privnet(&["instance", "create", "vm1", "--tap"])?;
        lab.privnet(&["instance", "create", "vm2", "--tap", "--group", "privnet-no-such"])?;
        let refused = |words: &[&str]| format!("{:#}", lab.privnet(words).expect_err("it cannot succeed"));
        let taken = refused(&["attach", "vm1", "red", "--device", "tap-vm1"]);
        ensure!(taken.contains("this host has another device named tap-vm1"), "{taken}");
        ensure!(lab.host(1).namespace.ip("-details link show dev tap-vm1")? == before);
        let unknown = refused(&["attach", "vm2", "red"]);
        ensure!(unknown.contains("this host has no group privnet-no-such"), "{unknown}");
        lab.privnet(&["instance", "create", "vm3", "--tap"])?;
        let configured = refused(&["attach", "vm3", "red", "--configure"]);
        ensure!(configured.contains("leave `configure` out"), "{configured}");
        // What was in the way goes, and the port is plugged in by itself.
        lab.host(1).namespace.ip("link delete tap-vm1")?;
        eventually("the tap has its name", || lab.host(1).namespace.has_device("tap-vm1"))?;
        lab.privnet(&["detach", "vm2", "red"])?;
        invariants::hold(lab)
    });
}

/// Whether these words stand in one line, however far apart.
fn has_words(text: &str, words: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(words))
}

/// A guest that has set a larger MTU than its network's is told by ICMP, also of what it left to be segmented, and
/// the answers are whole.
#[test]
fn a_guest_with_a_larger_mtu_learns_its_networks() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let vm = Vm::join(lab, &network, "vm", 1)?;
        let near = Vm::join(lab, &network, "near", 1)?;
        let far = Vm::join(lab, &network, "far", 2)?;
        for vm in [&vm, &near, &far] {
            vm.instance.namespace.ip("link set dev net0 mtu 9000")?;
        }
        for other in [&near, &far] {
            let answers = lab.capture(&vm.instance.namespace, "net0", "icmp")?;
            stream(&vm.instance, &other.instance, other.address)?;
            let answer = answers.wait_for_frame(&format!("unreachable - need to frag (mtu {OVERLAY_MTU_BYTES})"))?;
            ensure!(!answer.contains("bad cksum") && !answer.contains("wrong icmp cksum"), "{answer}");
        }
        let counted = counters(lab, 1)?.of(&vm.mac)?.clone();
        ensure!(counted["icmp-replies"].as_u64() >= Some(2), "{counted}");
        invariants::hold(lab)
    });
}
