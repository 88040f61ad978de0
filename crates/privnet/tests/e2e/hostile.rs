//! Instances that try everything, and an underlay on which others do.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use privnet_lab::{DhcpClientKind, Lab, Namespace, internet_checksum, invariants};

use crate::support::{
    BROADCAST, Guest, OVERLAY_MTU_BYTES, PRIVNET, counters, eventually, frame, hosts, in_lab, managed, octets, text,
    udp_packet,
};

/// For experiments (IEEE 802 local experimental ethertype 1): nothing but these tests sends it.
const EXPERIMENT: u16 = 0x88b5;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VXLAN_PORT: u16 = 4789;
/// Where a host would hear what reaches it.
const HOST_PORT: u16 = 7777;
const DHCP_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const DHCP_SERVER_MAC: &str = "0e:00:00:00:00:00";

#[test]
fn an_instance_reaches_neither_hosts_nor_other_networks_nor_the_underlay() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let blue = lab.api().create_network(&managed("blue"))?;
        let evil = Guest::join(lab, &red, "evil", 1)?;
        let reds = [Guest::join(lab, &red, "near", 1)?, Guest::join(lab, &red, "far", 2)?];
        let blues = [Guest::join(lab, &blue, "blue-near", 1)?, Guest::join(lab, &blue, "blue-far", 2)?];
        let to_host = Ears::in_host(lab, 1)?;
        let back = lab.capture(&evil.instance.namespace, &evil.device, &format!("not ether src {}", evil.mac))?;
        let at_blues = capture_all(lab, &blues, "")?;
        let at_reds = capture_all(lab, &reds, &format!("ether src {}", evil.mac))?;

        let mut expected = Vec::new();
        let mut sends = |reason: &'static str, frame: Vec<u8>| {
            expected.push(reason);
            evil.instance.namespace.send_frame(&evil.device, &frame)
        };
        // The hosts and the DHCP server, by every MAC address that leads there for others.
        let host_macs = macs_of(&lab.host(1).namespace)?;
        ensure!(
            host_macs.len() >= 4,
            "the underlay's device, the overlay's and the ports' are expected: {host_macs:?}"
        );
        let hosts_address = vtep(lab, 1)?;
        for mac in host_macs.iter().map(String::as_str).chain([DHCP_SERVER_MAC]) {
            for to in [(hosts_address, HOST_PORT), (hosts_address, VXLAN_PORT), (DHCP_SERVER, HOST_PORT)] {
                let inner = vxlan(vni(lab, &blue)?, &frame(BROADCAST, &blues[0].mac, EXPERIMENT, b"into blue"));
                sends("unknown-unicast", evil.frame(mac, IPV4, &udp_packet((evil.address, 9), to, &inner)))?;
            }
            sends("unknown-unicast", evil.frame(mac, IPV6, &[0x60; 48]))?;
        }
        // Other networks.
        for blue in &blues {
            sends("unknown-unicast", evil.frame(&blue.mac, EXPERIMENT, b"into blue"))?;
        }
        // In the name of others.
        for foreign in [&reds[0].mac, &reds[1].mac, &blues[0].mac, DHCP_SERVER_MAC, BROADCAST, "00:00:00:00:00:00"] {
            sends("spoofed-mac", frame(&reds[0].mac, foreign, EXPERIMENT, b"spoofed"))?;
            sends("spoofed-arp", evil.frame(BROADCAST, ARP, &arp(foreign, reds[0].address, reds[1].address)))?;
        }
        for packet in [
            udp_packet((evil.address, 67), (Ipv4Addr::BROADCAST, 68), b"an offer"),
            udp_packet((DHCP_SERVER, 67), (reds[0].address, 68), b"an acknowledgement"),
        ] {
            sends("rogue-dhcp", evil.frame(&reds[0].mac, IPV4, &packet))?;
        }
        // To what a bridge keeps for itself: STP, pause, LACP, 802.1X, LLDP.
        for last in ["00", "01", "02", "03", "0e"] {
            sends("reserved-group", evil.frame(&format!("01:80:c2:00:00:{last}"), EXPERIMENT, b"to the bridge"))?;
        }
        sends("too-short", evil.frame(BROADCAST, ARP, &[0, 1, 8, 0, 6, 4, 0, 1]))?;

        // Questions that only a host could answer, by the way of all of red.
        for asked in [hosts_address, vtep(lab, 2)?] {
            evil.send(BROADCAST, ARP, &arp(&evil.mac, evil.address, asked))?;
        }
        evil.send(BROADCAST, IPV4, &udp_packet((evil.address, 9), (hosts_address, HOST_PORT), b"to the host"))?;
        evil.send("33:33:00:00:00:01", IPV6, &[0x60; 48])?;
        // Whatever would have come has come before this.
        evil.send(BROADCAST, EXPERIMENT, b"the last")?;
        for capture in &at_reds {
            capture.wait_for_frame("0x88b5")?;
        }
        let drops = counters(lab, 1)?.drops(&evil.mac)?;
        for reason in ["unknown-unicast", "spoofed-mac", "spoofed-arp", "rogue-dhcp", "reserved-group", "too-short"] {
            let count = expected.iter().filter(|expected| **expected == reason).count() as u64;
            ensure!(drops[reason] == count, "{reason} is expected {count} times: {drops}");
        }
        for capture in at_reds {
            // Broadcasts and no more: two questions, one datagram, one of IPv6, the last.
            let mut frames = capture.stop()?;
            // The instance's own kernel speaks of itself (MLD, DAD).
            frames.retain(|line| !line.contains("ICMP6"));
            ensure!(frames.len() == 5, "red hears {frames:#?}");
        }
        for capture in at_blues {
            let frames = capture.stop()?;
            ensure!(!frames.iter().any(|line| line.contains(&evil.mac) || line.contains("0x88b5")), "{frames:#?}");
        }
        let frames = back.stop()?;
        ensure!(!frames.iter().any(|line| host_macs.iter().any(|mac| line.contains(mac))), "hosts answer: {frames:#?}");
        to_host.heard_nothing()?;
        let known = lab.host(1).namespace.ip("neigh show")?;
        ensure!(!known.contains("10.0.0."), "the host has learnt of instances: {known}");
        invariants::hold(lab)
    });
}

#[test]
fn a_storm_in_one_network_takes_nothing_from_another() {
    // So that a storm is one on the slowest machine.
    in_lab(hosts(2).agent_args(["--bum-copies-per-second", "200"]), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let blue = lab.api().create_network(&managed("blue"))?;
        let evil = Guest::join(lab, &red, "evil", 1)?;
        let neighbor = Guest::join(lab, &red, "neighbor", 2)?;
        let blues = [Guest::join(lab, &blue, "blue-near", 1)?, Guest::join(lab, &blue, "blue-far", 2)?];
        let newcomer = lab.add_instance("newcomer", 1)?;
        let leased = lab.api().attach(&blue, &newcomer.id, None)?.context("a lease")?;
        let pinger = lab.pinger(&blues[0].instance.namespace, blues[1].address, Duration::from_millis(10))?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let frames =
                    (0..).take_while(|_| !stop.load(Ordering::Relaxed)).flat_map(|number| storm(&evil, number));
                evil.instance.namespace.send_frames(&evil.device, frames).expect("sent");
            });
            let unharmed = unharmed(lab, &evil, &newcomer, &leased, pinger);
            stop.store(true, Ordering::Relaxed);
            unharmed
        })?;
        // Of the storm, what is within the limits is heard.
        ensure!(counters(lab, 2)?.of(&neighbor.mac)?["received-frames"].as_u64() > Some(0), "nothing is heard of red");
        ensure!(evil.reaches(&neighbor)?, "evil does not reach its own network any more");
        invariants::hold(lab)
    });
}

/// A frame to all, a DHCP request of a client that there is not, and one of a MAC address that there is not.
fn storm(evil: &Guest, number: u32) -> [Vec<u8>; 3] {
    let mut discover = vec![1, 1, 6, 0];
    discover.extend(number.to_be_bytes());
    discover.resize(28 + 2, 0);
    discover.extend(number.to_be_bytes());
    discover.resize(300, 0);
    let request = udp_packet((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &discover);
    let [a, b, c, d] = number.to_be_bytes();
    let source = format!("0a:01:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
    [
        evil.frame(BROADCAST, EXPERIMENT, b"a storm"),
        evil.frame(BROADCAST, IPV4, &request),
        frame(BROADCAST, &source, EXPERIMENT, b"unknown"),
    ]
}

/// What blue notices while the storm is on.
fn unharmed(
    lab: &mut Lab,
    evil: &Guest,
    newcomer: &privnet_lab::Instance,
    leased: &str,
    mut pinger: privnet_lab::Pinger,
) -> Result<()> {
    let limits = ["bum-limit", "dhcp-limit", "spoofed-mac"];
    eventually("every limit has been met", || {
        let drops = counters(lab, 1)?.drops(&evil.mac)?;
        Ok(limits.iter().all(|reason| drops[*reason].as_u64() > Some(50)))
    })?;
    lab.dhcp_client(newcomer, "net0", DhcpClientKind::Udhcpc)?.wait_for_address(leased.parse()?)?;
    pinger.wait_for_answers(50)?;
    pinger.stop()?;
    let drops = counters(lab, 1)?.drops(&evil.mac)?;
    ensure!(drops["dhcp-queue-full"].is_null(), "the queue has been full: {drops}");
    Ok(())
}

#[test]
fn what_a_hostile_underlay_sends_comes_to_nobody() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let guest = Guest::join(lab, &red, "guest", 1)?;
        let other = Guest::join(lab, &red, "other", 2)?;
        let vni = vni(lab, &red)?;
        let seen = lab.capture(&guest.instance.namespace, &guest.device, "ether proto 0x88b5")?;
        let (h1, h2) = (vtep(lab, 1)?, vtep(lab, 2)?);
        let stranger = Ipv4Addr::new(192, 0, 2, 200);
        let links = lab.host(1).namespace.links()?;
        let underlay_mac = links.iter().find(|link| link["ifname"] == lab.host(1).underlay_device);
        let underlay_mac = text(underlay_mac.context("an underlay device")?, "address").to_owned();
        let wire = lab.underlay().context("a started lab has one")?.clone();
        let sends = |packet: Vec<u8>| {
            wire.send_frame("h1", &frame(&underlay_mac, "0a:00:00:00:02:00", IPV4, &with_header_checksum(packet)))
        };
        let from = |host, payload: &[u8]| udp_packet((host, 50_000), (h1, VXLAN_PORT), payload);
        let to_guest = |source: &str| vxlan(vni, &frame(&guest.mac, source, EXPERIMENT, b"hostile"));
        let to_all = |source: &str| vxlan(vni, &frame(BROADCAST, source, EXPERIMENT, b"hostile"));
        let good = to_guest(&other.mac);

        // Counted by us, each for its own reason.
        let mut expected = Vec::new();
        for payload in [&good, &to_all(&other.mac)] {
            expected.push("unknown-vtep");
            sends(from(stranger, payload))?;
            expected.push("unknown-vni");
            sends(from(h2, &[&payload[..4], &[0xee, 0xee, 0xee, 0], &payload[8..]].concat()))?;
        }
        for foreign in [&guest.mac, "0a:00:00:00:00:99", DHCP_SERVER_MAC, BROADCAST] {
            for payload in [to_guest(foreign), to_all(foreign)] {
                expected.push("spoofed-mac");
                sends(from(h2, &payload))?;
            }
        }
        expected.push("unknown-unicast");
        sends(from(h2, &vxlan(vni, &frame(&other.mac, &other.mac, EXPERIMENT, b"back to where it came from"))))?;
        // Dropped by the kernel before they are frames.
        let with = |at: usize, octets: &[u8]| {
            let mut packet = from(h2, &good);
            packet[at..at + octets.len()].copy_from_slice(octets);
            packet
        };
        let (length, longer) = (with(0, &[]).len() as u16, u16::to_be_bytes(2000));
        let no_frame = [
            ("no VNI", with(28, &[0])),
            ("unknown flags", with(28, &[0xff])),
            ("another port", with(22, &(VXLAN_PORT + 1).to_be_bytes())),
            ("UDP longer than IP", with(24, &longer)),
            ("UDP too short for VXLAN", with(24, &10u16.to_be_bytes())),
            ("IP longer than the packet", with(2, &longer)),
            ("IP shorter than UDP", with(2, &(length - 8).to_be_bytes())),
            ("no frame inside", from(h2, &good[..8])),
            ("a frame without room for its header", from(h2, &good[..8 + 13])),
            ("no header inside", from(h2, &good[..4])),
            ("a wrong checksum", with(26, &[0xbe, 0xef])),
            ("from the host itself", from(h1, &good)),
            ("a later fragment", with(6, &[0, 1])),
        ];
        for (_, packet) in no_frame {
            sends(packet)?;
        }
        // Whatever would have come has come before this.
        other.send(&guest.mac, EXPERIMENT, b"the last")?;
        seen.wait_for_frame(&other.mac)?;
        let frames = seen.stop()?;
        ensure!(frames.len() == 1, "hostile frames are seen: {frames:#?}");
        let drops = counters(lab, 1)?.overlay["drops"].clone();
        for reason in ["unknown-vtep", "unknown-vni", "spoofed-mac", "unknown-unicast"] {
            let count = expected.iter().filter(|expected| **expected == reason).count() as u64;
            ensure!(drops[reason] == count, "{reason} is expected {count} times: {drops}");
        }
        ensure!(guest.reaches(&other)?, "the underlay carries nothing any more");
        Ok(())
    });
}

#[test]
fn an_instance_with_a_larger_mtu_learns_the_networks() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let guests = [Guest::join(lab, &red, "one", 1)?, Guest::join(lab, &red, "two", 2)?];
        for (guest, number) in guests.iter().zip(1..) {
            let namespace = &guest.instance.namespace;
            namespace.ip(&format!("link set {} mtu 9000", guest.device))?;
            namespace.ip(&format!("address add fd00::{number}/64 dev {} nodad", guest.device))?;
        }
        let [one, two] = guests.each_ref().map(|guest| &guest.instance.namespace);
        ensure!(guests[0].reaches(&guests[1])?, "no way from one to the other");
        let addresses = [guests[1].address.to_string(), "fd00::2".to_owned()];
        for address in &addresses {
            // It fails, as it must, and says what it was told.
            let ping =
                one.command("ping").args(["-M", "do", "-c", "2", "-i", "0.2", "-s", "8000", address]).output()?;
            let printed = String::from_utf8_lossy(&[ping.stdout, ping.stderr].concat()).into_owned();
            let told = [format!("mtu = {OVERLAY_MTU_BYTES}"), format!("mtu={OVERLAY_MTU_BYTES}")];
            ensure!(told.iter().any(|told| printed.contains(told)), "ping to {address} says {printed}");
            let route = one.ip(&format!("route get {address}"))?;
            ensure!(route.contains(&format!("mtu {OVERLAY_MTU_BYTES}")), "to {address}: {route}");
            one.ip("route flush cache")?;
            one.ip("-6 route flush cache")?;
            let received = transfer(one, two, address)?;
            ensure!(received == TRANSFERRED_OCTETS, "{received} octets have come to {address}");
        }
        let counters = counters(lab, 1)?;
        ensure!(counters.of(&guests[0].mac)?["icmp-replies"].as_u64() >= Some(4), "{counters:?}");
        Ok(())
    });
}

const TRANSFERRED_OCTETS: usize = 3_000_000;

/// Sends by TCP between two namespaces, and returns how much has come.
fn transfer(from: &Namespace, to: &Namespace, address: &str) -> Result<usize> {
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpListener, TcpStream};

    const PATIENCE: Duration = Duration::from_secs(20);
    let address = (address.parse::<IpAddr>()?, 5000);
    let listener = to.within(|| Ok(TcpListener::bind(address)?))?;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut stream = listener.accept()?.0;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            Ok(received.len())
        });
        let mut stream = from.within(|| Ok(TcpStream::connect(address)?))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&vec![7; TRANSFERRED_OCTETS])?;
        drop(stream);
        receiver.join().expect("no panic")
    })
}

#[test]
fn counters_say_who_has_none() {
    in_lab(hosts(1), |lab| {
        let run =
            |words: &[&str]| std::process::Command::new(PRIVNET).args(["--config", "/dev/null"]).args(words).output();
        let never = run(&["counters", "--bpf-dir", "/sys/fs/bpf/pnlab-never-made"])?;
        let said = String::from_utf8_lossy(&never.stderr).into_owned();
        ensure!(never.status.code() == Some(3) && said.contains("no agent has run on this host"), "{said}");

        let red = lab.api().create_network(&managed("red"))?;
        let guest = Guest::join(lab, &red, "guest", 1)?;
        let host = lab.host(1);
        let pin_dir = host.pin_dir.display().to_string();
        let words = ["--config", "/dev/null", "counters", "--bpf-dir", &pin_dir];
        let shown = host.namespace.run(PRIVNET, &words)?;
        let row = shown.lines().find(|line| line.contains(&guest.mac)).with_context(|| format!("no row: {shown}"))?;
        ensure!(row.contains(&guest.instance.id) && row.contains(&invariants::device_of(&guest.mac)), "{shown}");
        ensure!(row.starts_with(&vni(lab, &red)?.to_string()) && shown.contains("overlay"), "{shown}");
        // Without an agent as well.
        guest.send("0a:00:00:00:00:99", EXPERIMENT, b"to nobody")?;
        let before = counters(lab, 1)?.drops(&guest.mac)?;
        lab.kill_agent(1);
        guest.send("0a:00:00:00:00:99", EXPERIMENT, b"to nobody")?;
        let after = counters(lab, 1)?.drops(&guest.mac)?;
        ensure!(
            (before["unknown-unicast"].as_u64(), after["unknown-unicast"].as_u64()) == (Some(1), Some(2)),
            "{before} {after}"
        );
        Ok(())
    });
}

/// What reaches a host's own sockets.
struct Ears(Vec<UdpSocket>);

impl Ears {
    fn in_host(lab: &Lab, host: usize) -> Result<Self> {
        let socket = |address: &str| {
            let socket = UdpSocket::bind(format!("{address}:{HOST_PORT}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self(vec![lab.host(host).namespace.within(|| socket("0.0.0.0"))?]))
    }

    fn heard_nothing(&self) -> Result<()> {
        for socket in &self.0 {
            match socket.recv_from(&mut [0; 64]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => bail!("the host has heard {other:?}"),
            }
        }
        Ok(())
    }
}

fn macs_of(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.links()?;
    let macs = links.iter().map(|link| text(link, "address").to_owned());
    Ok(macs.filter(|mac| !mac.starts_with("00:00:00:00")).collect())
}

fn capture_all(lab: &mut Lab, guests: &[Guest], filter: &str) -> Result<Vec<privnet_lab::Capture>> {
    guests.iter().map(|guest| lab.capture(&guest.instance.namespace, &guest.device, filter)).collect()
}

/// A host's underlay address.
fn vtep(lab: &Lab, host: usize) -> Result<Ipv4Addr> {
    Ok(lab.host(host).vtep.to_string().parse()?)
}

fn vni(lab: &Lab, network: &str) -> Result<u32> {
    let network = lab.api().get(&format!("/v2/private-network/{network}"))?;
    Ok(u32::try_from(network["vni"].as_u64().context("a VNI")?)?)
}

/// RFC 7348's header, and a frame.
fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat()
}

/// Who has `wanted`? asked by a MAC address and an IP address.
fn arp(mac: &str, address: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let sender = [&octets(mac)[..], &address.octets()].concat();
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &sender, &[0; 6], &wanted.octets()].concat()
}

/// An IPv4 packet whose header says what it says, and is taken for that.
fn with_header_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let checksum = internet_checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}
