//! Real clients in the states of RFC 2131, figure 5; those of INIT and SELECTING are everywhere else.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use privnet_lab::dhcp_message::{ACK, DhcpAnswer, INFORM, dhcp_message};
use privnet_lab::{Capture, DhcpClient, DhcpClientKind, invariants};
use serde_json::json;

use super::{CLIENTS, SERVER, attach, guest};
use crate::support::{SETTLE_TIMEOUT, counters, eventually, hosts, in_lab, log_lines, managed, octets, port_mac};

/// What nobody else is given.
const CHANGED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 150);

#[test]
fn a_client_that_renews_asks_the_server_alone_and_keeps_its_address() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (instance, client) = guest(lab, &network, DhcpClientKind::Dhclient)?;
        let address = client.lease().context("it has a lease")?.address;
        let asked = lab.capture(&instance.namespace, "net0", "udp dst port 67")?;
        seen(&asked, &format!("{address}.68 > {SERVER}.67"))?;
        heard(&client, "RENEW")?;
        ensure!(client.lease().context("it has a lease")?.address == address, "it has another address");
        Ok(())
    });
}

#[test]
fn a_client_that_rebinds_asks_everybody_and_keeps_its_address_until_it_is_changed() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (instance, client) = guest(lab, &network, DhcpClientKind::Dhclient)?;
        let address = client.lease().context("it has a lease")?.address;
        // The server is not where the client looks for it: it comes to REBINDING without an answer.
        let nobody = "0a:00:00:00:00:99";
        instance.namespace.ip(&format!("neigh replace {SERVER} lladdr {nobody} nud permanent dev net0"))?;
        let asked = lab.capture(&instance.namespace, "net0", "udp dst port 67")?;
        seen(&asked, &format!("{address}.68 > {}.67", Ipv4Addr::BROADCAST))?;
        heard(&client, "RENEW")?;
        ensure!(client.lease().context("it has a lease")?.address == address, "it has another address");
        lab.api().update_ip(&network, &instance.id, Some(&CHANGED.to_string()))?;
        client.wait_for_address(CHANGED)?;
        ensure!(client.log().contains(&format!("DHCPNAK from {SERVER}")), "it was not refused: {}", client.log());
        invariants::hold(lab)
    });
}

#[test]
fn a_client_that_reboots_keeps_its_address_unless_it_was_changed_meanwhile() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (instance, client) = guest(lab, &network, DhcpClientKind::Dhclient)?;
        let address = client.lease().context("it has a lease")?.address;
        let client = lab.restart_dhcp_client(&instance, client)?;
        ensure!(client.wait_for_lease()?.address == address, "it has another address");
        heard(&client, "REBOOT")?;

        client.kill()?;
        lab.api().update_ip(&network, &instance.id, Some(&CHANGED.to_string()))?;
        let client = lab.restart_dhcp_client(&instance, client)?;
        client.wait_for_address(CHANGED)?;
        for line in [format!("DHCPREQUEST for {address} on"), format!("DHCPNAK from {SERVER}")] {
            ensure!(client.log().contains(&line), "no {line}: {}", client.log());
        }
        invariants::hold(lab)
    });
}

/// As one does whose cable was pulled, or whose machine has slept.
#[test]
fn a_client_whose_link_comes_back_learns_a_changed_address_at_once() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (instance, client) = guest(lab, &network, DhcpClientKind::Networkd)?;
        let answers = lab.capture(&instance.namespace, "net0", "udp src port 67")?;
        instance.namespace.ip("link set net0 down")?;
        lab.api().update_ip(&network, &instance.id, Some(&CHANGED.to_string()))?;
        instance.namespace.ip("link set net0 up")?;
        client.wait_for_address(CHANGED)?;
        eventually("the device has the address", || Ok(instance.namespace.addresses("net0")? == [CHANGED]))?;
        // It has asked for the address that it had (INIT-REBOOT), and was refused.
        seen(&answers, &format!("{SERVER}.67 > {}.68", Ipv4Addr::BROADCAST))?;
        invariants::hold(lab)
    });
}

#[test]
fn a_client_that_finds_its_address_in_use_declines_it_and_that_is_reported() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let careful = lab.add_instance("careful", 1)?;
        let address = attach(lab, &network, &careful)?;
        let impostor = lab.add_instance("impostor", 1)?;
        attach(lab, &network, &impostor)?;
        impostor.namespace.ip(&format!("address add {address}/24 dev net0"))?;
        impostor.namespace.ip("link set net0 up")?;

        // -a asks by ARP for the offered address.
        let mut udhcpc = careful.namespace.command("udhcpc");
        udhcpc.args(["-f", "-a", "-t", "3", "-T", "1", "-A", "1", "-i", "net0", "-s", "/bin/true"]);
        let udhcpc = lab.daemon("udhcpc -a", &mut udhcpc)?;
        let mac = port_mac(lab.api(), &network, &careful.id)?;
        for log in ["h1.log", "server.log"] {
            let words = ["finds its address in use", &mac, &address.to_string(), "times=1"];
            eventually(&format!("{log} says so"), || Ok(!log_lines(lab, log, &words)?.is_empty()))
                .with_context(|| udhcpc.log())?;
        }
        ensure!(counters(lab, 1)?.of(&mac)?["dhcp-declines"].as_u64() >= Some(1), "it is counted");
        // When the impostor is gone, the same address is right again.
        impostor.namespace.ip(&format!("address del {address}/24 dev net0"))?;
        eventually("it has its address", || Ok(udhcpc.log().contains(&format!("lease of {address} obtained"))))?;
        invariants::hold(lab)
    });
}

/// RFC 2131 §4.4.3. The address is one that somebody has set by hand.
#[test]
fn an_instance_with_an_address_of_its_own_is_told_the_parameters_alone() {
    in_lab(hosts(1), |lab| {
        let mut body = managed("red");
        body["options"] = json!({"dns-servers": ["10.0.0.2"]});
        let network = lab.api().create_network(&body)?;
        let instance = lab.add_instance("guest", 1)?;
        attach(lab, &network, &instance)?;
        instance.namespace.ip(&format!("address add {CHANGED}/24 dev net0"))?;
        instance.namespace.ip("link set net0 up")?;
        let mac = octets(&port_mac(lab.api(), &network, &instance.id)?);

        let socket = instance.namespace.within(|| Ok(UdpSocket::bind((CHANGED, 68))?))?;
        socket.set_read_timeout(Some(SETTLE_TIMEOUT))?;
        socket.send_to(&dhcp_message(INFORM, &mac, CHANGED, &[55, 2, 6, 51]), (SERVER, 67))?;
        let mut message = [0; 1500];
        let (length, from) = socket.recv_from(&mut message)?;
        ensure!(from == (SERVER, 67).into(), "{from} has answered");
        let answer = DhcpAnswer::new(&message[..length]).context("a message")?;
        ensure!((answer.kind(), answer.yiaddr()) == (Some(ACK), Ipv4Addr::UNSPECIFIED), "{answer:?}");
        ensure!((answer.option(6), answer.option(51)) == (Some(&[10, 0, 0, 2][..]), None), "{answer:?}");
        Ok(())
    });
}

/// More than the options field of a message has room for that every client takes.
#[test]
fn options_that_need_the_fields_of_bootp_are_read_by_all_clients() {
    in_lab(hosts(1), |lab| {
        let many = |from: u8, count: u8| (from..from + count).map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>();
        let (dns, ntp) = (many(1, 25), many(101, 28));
        let mut body = managed("red");
        body["options"] = json!({"routers": ["10.0.0.1"], "dns-servers": dns, "ntp-servers": ntp,
            "domain-search": ["a-domain-with-a-name-of-some-length.example", "another-one-of-some-length.example"]});
        let network = lab.api().create_network(&body)?;
        for kind in CLIENTS {
            let (_, client) = guest(lab, &network, kind)?;
            let lease = client.lease().context("it has a lease")?;
            let told = |names: [&str; 3]| names.iter().find_map(|name| lease.variables.get(*name)).cloned();
            let told = [told(["dns", "new_domain_name_servers", "DNS"]), told(["ntpsrv", "new_ntp_servers", "NTP"])];
            ensure!(told == [&dns, &ntp].map(|list| Some(list.join(" "))), "{kind:?} is told {told:?}");
        }
        Ok(())
    });
}

/// Waits until a frame has this in its line.
fn seen(capture: &Capture, text: &str) -> Result<()> {
    eventually(text, || Ok(capture.frames().iter().any(|frame| frame.contains(text))))
}

/// Waits until the client has been told this. What it has asked everybody for is "RENEW" to dhclient, too.
fn heard(client: &DhcpClient, what: &str) -> Result<()> {
    eventually(&format!("{what} of {:?}", client.kind()), || Ok(client.events().iter().any(|event| event.what == what)))
        .with_context(|| client.log())
}
