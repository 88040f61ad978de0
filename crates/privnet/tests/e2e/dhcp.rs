//! Addresses by DHCP, as unmodified clients see it.

mod states;
mod storm;

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use privnet_lab::dhcp_message::{DECLINE, DISCOVER, REQUEST, dhcp_message};
use privnet_lab::{DhcpClient, DhcpClientKind, DhcpLease, Instance, Lab};
use serde_json::{Value, json};

use crate::support::{BROADCAST, eventually, frame, hosts, in_lab, managed, octets, port_mac, udp_packet};
use privnet_lab::invariants;

/// The last usable host address of the networks here.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// Where a message has the relay agent that it came by (RFC 2131 §2).
const GIADDR: usize = 24;

const CLIENTS: [DhcpClientKind; 3] = [DhcpClientKind::Udhcpc, DhcpClientKind::Dhclient, DhcpClientKind::Networkd];

#[test]
fn clients_get_the_address_and_the_options_that_the_api_says() {
    in_lab(hosts(1), |lab| {
        let mut body = managed("red");
        body["options"] = json!({
            "routers": ["10.0.0.1"],
            "dns-servers": ["10.0.0.2", "10.0.0.3"],
            "ntp-servers": ["10.0.0.4"],
            "domain-search": ["red.example", "lab.example"],
        });
        let network = lab.api().create_network(&body)?;
        for kind in CLIENTS {
            let instance = lab.add_instance(&format!("{kind:?}"), 1)?;
            let leased = attach(lab, &network, &instance)?;
            let client = lab.dhcp_client(&instance, "net0", kind)?;
            let lease = client.wait_for_lease()?;
            ensure!(lease.address == leased, "{kind:?} has {}, the API says {leased}", lease.address);
            expect_options(kind, &lease)?;
            eventually("the device has the address", || Ok(instance.namespace.addresses("net0")? == [leased]))?;
        }
        // With static addresses: one in the range and one that is not.
        for ip in [Ipv4Addr::new(10, 0, 0, 77), Ipv4Addr::new(10, 0, 0, 200)] {
            let instance = lab.add_instance("static", 1)?;
            lab.api().attach(&network, &instance.id, Some(&ip.to_string()))?;
            lab.dhcp_client(&instance, "net0", DhcpClientKind::Udhcpc)?.wait_for_address(ip)?;
        }
        invariants::hold(lab)
    });
}

/// What each client calls the options that the network above has.
fn expect_options(kind: DhcpClientKind, lease: &DhcpLease) -> Result<()> {
    let expected = match kind {
        DhcpClientKind::Udhcpc => [
            ("subnet", "255.255.255.0"),
            ("broadcast", "10.0.0.255"),
            ("router", "10.0.0.1"),
            ("dns", "10.0.0.2 10.0.0.3"),
            ("ntpsrv", "10.0.0.4"),
            ("search", "red.example lab.example"),
            ("mtu", "1450"),
            ("lease", "3600"),
            ("serverid", "10.0.0.254"),
            ("hostname", "Udhcpc"),
        ],
        DhcpClientKind::Dhclient => [
            ("new_subnet_mask", "255.255.255.0"),
            ("new_broadcast_address", "10.0.0.255"),
            ("new_routers", "10.0.0.1"),
            ("new_domain_name_servers", "10.0.0.2 10.0.0.3"),
            ("new_ntp_servers", "10.0.0.4"),
            ("new_domain_search", "red.example. lab.example."),
            ("new_interface_mtu", "1450"),
            ("new_dhcp_lease_time", "3600"),
            ("new_dhcp_server_identifier", "10.0.0.254"),
            ("new_host_name", "Dhclient"),
        ],
        DhcpClientKind::Networkd => [
            ("NETMASK", "255.255.255.0"),
            ("DOMAINNAME", "red.example"),
            ("ROUTER", "10.0.0.1"),
            ("DNS", "10.0.0.2 10.0.0.3"),
            ("NTP", "10.0.0.4"),
            ("DOMAIN_SEARCH_LIST", "red.example lab.example"),
            ("MTU", "1450"),
            ("LIFETIME", "3600"),
            ("SERVER_ADDRESS", "10.0.0.254"),
            ("HOSTNAME", "Networkd"),
        ],
    };
    for (name, value) in expected {
        let told = lease.variables.get(name).map(String::as_str);
        ensure!(told == Some(value), "{kind:?}: {name} is {told:?}, expected {value:?}; told: {:#?}", lease.variables);
    }
    Ok(())
}

#[test]
fn a_client_that_looks_for_its_address_in_use_finds_nobody() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let instance = lab.add_instance("careful", 1)?;
        attach(lab, &network, &instance)?;
        // -a asks by ARP for the offered address; -n gives up when there is no lease.
        let words = ["-f", "-q", "-n", "-a", "-t", "3", "-T", "2", "-i", "net0", "-s", "/bin/true"];
        let printed = instance.namespace.run("udhcpc", &words)?;
        ensure!(!printed.contains("declin"), "{printed}");
        Ok(())
    });
}

#[test]
fn a_changed_address_is_learnt_at_the_next_renewal() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        for (kind, last_octet) in CLIENTS.into_iter().zip(150..) {
            let changed = Ipv4Addr::new(10, 0, 0, last_octet);
            let (instance, client) = guest(lab, &network, kind)?;
            lab.api().update_ip(&network, &instance.id, Some(&changed.to_string()))?;
            renew(lab, &instance, client, kind, changed)?;
        }
        invariants::hold(lab)
    });
}

#[test]
fn changed_options_are_learnt_at_the_next_renewal() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (_, udhcpc) = guest(lab, &network, DhcpClientKind::Udhcpc)?;
        let (_, dhclient) = guest(lab, &network, DhcpClientKind::Dhclient)?;
        let path = format!("/v2/private-network/{network}");
        for (routers, told) in [(json!(["10.0.0.1", "10.0.0.2"]), Some("10.0.0.1 10.0.0.2")), (json!([]), None)] {
            let options = json!({"options": {"routers": routers}});
            let operation = lab.api().operate(ureq::http::Method::PUT, &path, Some(&options))?;
            ensure!(operation["state"] == "success", "{operation}");
            udhcpc.renew()?;
            for (client, name) in [(&udhcpc, "router"), (&dhclient, "new_routers")] {
                eventually(&format!("{:?} is told that the routers are {told:?}", client.kind()), || {
                    let lease = client.lease().context("it has a lease")?;
                    Ok(lease.variables.get(name).map(String::as_str) == told)
                })?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_router_outside_of_the_subnet_is_reached_on_the_link() {
    in_lab(hosts(1), |lab| {
        let mut body = managed("red");
        body["options"] = json!({"routers": ["192.0.2.1"]});
        let network = lab.api().create_network(&body)?;
        let router = lab.add_instance("router", 1)?;
        lab.api().attach(&network, &router.id, None)?;
        router.namespace.ip("address add 192.0.2.1/32 dev net0")?;
        router.namespace.ip("address add 198.51.100.1/32 dev lo")?;
        router.namespace.ip("link set net0 up")?;
        router.namespace.ip("route add 10.0.0.0/24 dev net0")?;
        let (guest, _client) = guest(lab, &network, DhcpClientKind::Networkd)?;
        eventually("the guest has its default route", || {
            Ok(guest.namespace.ip("route show default")?.contains("via 192.0.2.1"))
        })?;
        ensure!(guest.namespace.reaches([198, 51, 100, 1])?, "what lies behind the router is not reached");
        Ok(())
    });
}

#[test]
fn leases_are_given_and_renewed_while_the_server_is_away_and_the_agent_is_new() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = CLIENTS.map(|kind| guest(lab, &network, kind).map(|(instance, client)| (instance, client, kind)));
        let newcomer = lab.add_instance("newcomer", 1)?;
        let newcomers = attach(lab, &network, &newcomer)?;
        lab.kill_server();
        lab.kill_agent(1);
        // A request that nobody answers now is asked again by its client.
        let new_client = lab.dhcp_client(&newcomer, "net0", DhcpClientKind::Udhcpc)?;
        eventually("it has asked", || Ok(new_client.log().contains("discover")))?;
        lab.start_agent(1)?;
        new_client.wait_for_address(newcomers)?;
        for guest in guests {
            let (instance, client, kind) = guest?;
            let address = client.lease().context("it has a lease")?.address;
            renew(lab, &instance, client, kind, address)?;
        }
        Ok(())
    });
}

#[test]
fn a_released_or_declined_address_stays_its_port_s() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let (instance, client) = guest(lab, &network, DhcpClientKind::Udhcpc)?;
        let address = client.lease().context("it has a lease")?.address;
        client.release()?;
        eventually("the address is given back", || Ok(client.lease().is_none()))?;
        let mac = port_mac(lab.api(), &network, &instance.id)?;
        let decline = dhcp(DECLINE, &mac, &[(50, address), (54, SERVER)]);
        send_dhcp(&instance, &mac, &decline)?;
        ensure!(attach(lab, &network, &instance)? == address, "the lease is another");
        let again = lab.dhcp_client(&instance, "net0", DhcpClientKind::Udhcpc)?;
        again.wait_for_address(address)?;
        invariants::hold(lab)
    });
}

#[test]
fn strangers_relay_agents_and_clients_of_other_servers_get_no_answer() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let instance = lab.add_instance("guest", 1)?;
        let address = attach(lab, &network, &instance)?;
        let neighbor = lab.add_instance("neighbor", 1)?;
        attach(lab, &network, &neighbor)?;
        let mac = port_mac(lab.api(), &network, &instance.id)?;
        let neighbors = port_mac(lab.api(), &network, &neighbor.id)?;
        let filter = "udp src port 67";
        let heard = lab.capture(&instance.namespace, "net0", filter)?;
        let overheard = lab.capture(&neighbor.namespace, "net0", filter)?;

        for stranger in ["0a:00:00:00:00:99", &neighbors] {
            send_dhcp(&instance, &mac, &dhcp(DISCOVER, stranger, &[]))?;
        }
        let mut relayed = dhcp(DISCOVER, &mac, &[]);
        relayed[GIADDR..GIADDR + 4].copy_from_slice(&[10, 0, 0, 1]);
        send_dhcp(&instance, &mac, &relayed)?;
        let another_server = Ipv4Addr::new(10, 0, 0, 1);
        send_dhcp(&instance, &mac, &dhcp(REQUEST, &mac, &[(50, address), (54, another_server)]))?;
        // Requests are answered in their order, so those before would have been answered by then.
        send_dhcp(&instance, &mac, &dhcp(DISCOVER, &mac, &[]))?;
        heard.wait_for_frame("BOOTP/DHCP, Reply")?;
        let (heard, overheard) = (heard.stop()?, overheard.stop()?);
        ensure!(heard.len() == 1, "more than one request is answered: {heard:#?}");
        ensure!(overheard.is_empty(), "the neighbor hears answers that are not its own: {overheard:#?}");
        Ok(())
    });
}

#[test]
fn there_is_no_dhcp_in_an_unmanaged_network_until_it_becomes_managed() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&json!({"name": "grey"}))?;
        let instance = lab.add_instance("guest", 1)?;
        lab.api().attach(&network, &instance.id, None)?;
        let mac = port_mac(lab.api(), &network, &instance.id)?;
        let heard = lab.capture(&instance.namespace, "net0", "udp src port 67")?;
        send_dhcp(&instance, &mac, &dhcp(DISCOVER, &mac, &[]))?;

        let path = format!("/v2/private-network/{network}");
        let operation = lab.api().operate(ureq::http::Method::PUT, &path, Some(&range()))?;
        ensure!(operation["state"] == "success", "{operation}");
        let leased = lab.api().lease(&network, &instance.id)?.context("a port of a managed network has a lease")?;
        ensure!(heard.stop()?.is_empty(), "an unmanaged network answers DHCP");
        lab.dhcp_client(&instance, "net0", DhcpClientKind::Udhcpc)?.wait_for_address(leased.parse()?)?;
        invariants::hold(lab)
    });
}

fn range() -> Value {
    json!({"start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0"})
}

/// An instance that is attached and has its lease.
fn guest(lab: &mut Lab, network: &str, kind: DhcpClientKind) -> Result<(Instance, DhcpClient)> {
    let instance = lab.add_instance(&format!("{kind:?}"), 1)?;
    let leased = attach(lab, network, &instance)?;
    let client = lab.dhcp_client(&instance, "net0", kind)?;
    client.wait_for_address(leased)?;
    Ok((instance, client))
}

/// Attaches to a managed network. Doing so again changes nothing.
fn attach(lab: &Lab, network: &str, instance: &Instance) -> Result<Ipv4Addr> {
    Ok(lab.api().attach(network, &instance.id, None)?.context("a managed network leases an address")?.parse()?)
}

/// Has the client renew its lease, as far as it can be told to, and waits for it to have this address.
fn renew(
    lab: &mut Lab,
    instance: &Instance,
    client: DhcpClient,
    kind: DhcpClientKind,
    expected: Ipv4Addr,
) -> Result<()> {
    match kind {
        // dhclient renews by itself.
        DhcpClientKind::Udhcpc | DhcpClientKind::Dhclient => {
            let before = client.events().len();
            if kind == DhcpClientKind::Udhcpc {
                client.renew()?;
            }
            eventually(&format!("{kind:?} has an answer"), || {
                Ok(client.events().len() > before && client.lease().is_some_and(|lease| lease.address == expected))
            })
        }
        DhcpClientKind::Networkd => lab.restart_dhcp_client(instance, client)?.wait_for_address(expected).map(drop),
    }
}

/// A client's message with the options that are addresses.
fn dhcp(kind: u8, client: &str, addresses: &[(u8, Ipv4Addr)]) -> Vec<u8> {
    let option = |(code, address): &(u8, Ipv4Addr)| [&[*code, 4][..], &address.octets()].concat();
    let options: Vec<u8> = addresses.iter().flat_map(option).collect();
    dhcp_message(kind, &octets(client), Ipv4Addr::UNSPECIFIED, &options)
}

fn send_dhcp(instance: &Instance, from: &str, message: &[u8]) -> Result<()> {
    let packet = udp_packet((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), message);
    instance.namespace.send_frame("net0", &frame(BROADCAST, from, 0x0800, &packet))
}
