//! Segments on other underlays than the usual one.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use privnet_lab::{DhcpClientKind, Instance, Lab, invariants};

use crate::support::{hosts, in_lab, log_lines, managed};

/// What IPv6 leaves of 1500 octets.
const OVERLAY_MTU_BYTES: u32 = 1430;

#[test]
fn by_ipv6_and_another_udp_port_all_is_as_by_ipv4_but_for_20_octets() {
    in_lab(hosts(2).ipv6_underlay().agent_args(["--vxlan-port", "8472"]), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let instances = [1, 1, 2].map(|host| lab.add_instance(&format!("on-{host}"), host));
        let [one, beside, two] = instances.map(|instance| instance.expect("registered"));
        for instance in [&one, &beside, &two] {
            lab.api().attach(&network, &instance.id, None)?;
        }
        // The first fragment would show the port, the others would not.
        let (device, host) = (lab.host(1).underlay_device, lab.host(1).namespace.clone());
        let seen = lab.capture(&host, device, "ip or udp or ip6[6] = 44")?;
        let clients = [&one, &beside, &two].map(|one| lab.dhcp_client(one, "net0", DhcpClientKind::Udhcpc));
        let mut addresses = Vec::new();
        for client in clients.into_iter().collect::<Result<Vec<_>>>()? {
            let lease = client.wait_for_lease()?;
            let mtu = lease.variables.get("mtu").map(String::as_str);
            ensure!(mtu == Some("1430"), "option 26 says {mtu:?}");
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
