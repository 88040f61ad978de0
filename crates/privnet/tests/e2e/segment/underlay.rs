//! Segments on other underlays than the usual one.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privnet_lab::json::items;
use privnet_lab::{DhcpClientKind, Instance, Lab, invariants};

use crate::support::{Guest, eventually, hosts, in_lab, log_lines, managed};

/// What IPv6 leaves of 9000 octets.
const OVERLAY_MTU_BYTES: u32 = 8930;

#[test]
fn by_ipv6_and_another_udp_port_all_is_as_by_ipv4_but_for_20_octets() {
    in_lab(hosts(2).ipv6_underlay().underlay_mtu(9000).agent_args(["--vxlan-port", "8472"]), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let instances = [1, 1, 2].map(|host| lab.add_instance(&format!("on-{host}"), host));
        let [one, beside, two] = instances.map(|instance| instance.expect("registered"));
        for instance in [&one, &beside, &two] {
            lab.api().attach(&network, &instance.id, None)?;
        }
        // The first fragment would show the port, the others would not. The device's own IGMP is not of interest.
        let (device, host) = (lab.host(1).underlay_device, lab.host(1).namespace.clone());
        let seen = lab.capture(&host, device, "udp or ip6[6] = 44")?;
        let clients = [&one, &beside, &two].map(|one| lab.dhcp_client(one, "net0", DhcpClientKind::Udhcpc));
        let mut addresses = Vec::new();
        for client in clients.into_iter().collect::<Result<Vec<_>>>()? {
            let lease = client.wait_for_lease()?;
            let mtu = lease.variables.get("mtu").map(String::as_str);
            ensure!(mtu == Some("8930"), "option 26 says {mtu:?}");
            addresses.push((lease.address, client));
        }
        for (address, _) in &addresses[1..] {
            ensure!(one.namespace.reaches(*address)?, "{address} is not reached");
            ensure!(one.namespace.ping_sized(*address, OVERLAY_MTU_BYTES)?, "a packet of the MTU does not cross");
            ensure!(!one.namespace.ping_sized(*address, OVERLAY_MTU_BYTES + 1)?, "a larger packet crosses");
        }
        invariants::hold(lab)?;
        seen.wait_for_frame("2001:db8::1")?;
        let strange: Vec<_> = seen.stop()?.into_iter().filter(|line| !line.contains(".8472: ")).collect();
        ensure!(strange.is_empty(), "other packets than VXLAN's at the port: {strange:#?}");
        survives_its_agent(lab, &one, addresses[2].0)
    });
}

fn survives_its_agent(lab: &mut Lab, one: &Instance, two: Ipv4Addr) -> Result<()> {
    let pinger = lab.pinger(&one.namespace, two, Duration::from_millis(5))?;
    lab.kill_agent(1);
    lab.start_agent(1)?;
    lab.wait_for_agents()?;
    pinger.stop()?;
    let anew = log_lines(lab, "h1.log", &["made anew"])?;
    ensure!(anew.is_empty(), "{anew:#?}");
    Ok(())
}

/// A network whose hosts have different underlays is as large as the smallest of them, and follows them.
#[test]
fn a_network_s_mtu_is_the_least_of_its_hosts_and_follows_them_without_a_port_plugged_in_anew() {
    in_lab(hosts(2).underlay_mtu(9000), |lab| {
        set_underlay_mtu(lab, 2, 1500)?;
        let red = lab.api().create_network(&managed("red"))?;
        let alone = Guest::join(lab, &red, "on-1", 1)?;
        mtu_is(&alone, 8950)?;
        let other = Guest::join(lab, &red, "on-2", 2)?;
        let guests = [alone, other];
        let devices = guests.each_ref().map(|guest| index_of(lab, guest));
        for (hosts, underlay, overlay) in
            [(&[][..], 1500, 1450), (&[2], 9000, 8950), (&[1], 1400, 1350), (&[1, 2], 4000, 3950)]
        {
            for host in hosts {
                set_underlay_mtu(lab, *host, underlay)?;
            }
            for guest in &guests {
                mtu_is(guest, overlay)?;
            }
            let from = &guests[0].instance.namespace;
            ensure!(from.ping_sized(guests[1].address, overlay)?, "{overlay} octets do not cross");
            ensure!(!from.ping_sized(guests[1].address, overlay + 1)?, "more than {overlay} octets cross");
            let client = lab.dhcp_client(&guests[0].instance, &guests[0].device, DhcpClientKind::Udhcpc)?;
            let told = client.wait_for_lease()?.variables.get("mtu").cloned();
            ensure!(told == Some(overlay.to_string()), "option 26 says {told:?}, not {overlay}");
            invariants::hold(lab)?;
        }
        let now = guests.each_ref().map(|guest| index_of(lab, guest));
        ensure!(devices.map(Result::unwrap) == now.map(Result::unwrap), "a port was plugged in anew");
        let drift = log_lines(lab, "h1.log", &["somebody else"])?;
        ensure!(drift.is_empty(), "its own doing is taken for somebody else's: {drift:#?}");
        Ok(())
    });
}

/// The index of the host's end of a guest's port.
fn index_of(lab: &Lab, guest: &Guest) -> Result<u64> {
    let links = lab.host(guest.instance.host).namespace.links()?;
    let device = invariants::device_of(&guest.mac);
    let link = links.iter().find(|link| link["ifname"] == *device).context("the port has a device")?;
    link["ifindex"].as_u64().context("a device has an index")
}

fn set_underlay_mtu(lab: &Lab, host: usize, mtu_bytes: u32) -> Result<()> {
    let host = lab.host(host);
    host.namespace.ip(&format!("link set {} mtu {mtu_bytes}", host.underlay_device))?;
    eventually("the server knows the underlay's MTU", || {
        let hosts = lab.api().get("/privnet/v1/hosts")?;
        Ok(items(&hosts, "hosts").iter().any(|one| one["name"] == *host.name && one["underlay-mtu-bytes"] == mtu_bytes))
    })
}

/// Waits until the guest's device has this MTU.
fn mtu_is(guest: &Guest, mtu_bytes: u32) -> Result<()> {
    eventually(&format!("the MTU of {} is {mtu_bytes}", guest.instance.name), || {
        let links = guest.instance.namespace.links()?;
        Ok(links.iter().any(|link| link["ifname"] == *guest.device && link["mtu"] == mtu_bytes))
    })
}
