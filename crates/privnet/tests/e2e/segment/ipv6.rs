//! IPv6 (RFC 8200) with an instance as router: neighbor discovery (RFC 4861) and addresses without a server
//! (RFC 4862), by the instances' own kernels.

use std::net::Ipv6Addr;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::AddressFamily;

use super::sockets::{raw, send_raw};
use super::{Segment, on_segments};
use crate::support::{Guest, eventually, octets, wait_for};

pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[test]
fn a_router_among_the_instances_gives_the_others_addresses_and_they_reach_each_other() {
    on_segments(|_, segment| {
        let Segment { a: router, b, c, is_managed } = segment;
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 5, (*is_managed).into(), 0, 0, 0, 0);
        let own = link_local(router)?;
        for guest in [b, c] {
            link_local(guest)?;
        }
        // What radvd sends.
        let socket = raw(router, AddressFamily::Inet6, libc::IPPROTO_ICMPV6)?;
        send_raw(&socket, ALL_NODES, &router_advertisement(router, prefix))?;

        let addresses = [b, c].map(|guest| wait_for_address(guest, prefix));
        let [of_b, of_c] = addresses;
        let (of_b, of_c) = (of_b?, of_c?);
        for guest in [b, c] {
            let routes = guest.instance.namespace.ip("-6 route show default")?;
            ensure!(routes.contains(&format!("via {own} ")), "{own} is not the router: {routes}");
            let addresses = guest.instance.namespace.ip("-6 address show scope global")?;
            ensure!(addresses.matches("inet6 ").count() == 1, "addresses of another network: {addresses}");
        }
        for (from, to) in [(b, of_c), (c, of_b), (router, own), (b, own), (c, own)] {
            let zone = if to == own { format!("{to}%{}", from.device) } else { to.to_string() };
            ensure!(pings(from, &zone)?, "{to} is not reached from {}", from.instance.name);
        }
        is_found_out(c, of_b)
    });
}

/// Two instances with the same address notice it, wherever they are (RFC 4862 §5.4).
fn is_found_out(guest: &Guest, taken: Ipv6Addr) -> Result<()> {
    guest.instance.namespace.ip(&format!("address add {taken}/128 dev {}", guest.device))?;
    eventually("the duplicate is found out", || {
        let shown = guest.instance.namespace.ip(&format!("-6 address show to {taken}"))?;
        ensure!(shown.contains("tentative"), "the duplicate is in use: {shown}");
        Ok(shown.contains("dadfailed"))
    })?;
    guest.instance.namespace.ip(&format!("address delete {taken}/128 dev {}", guest.device)).map(drop)
}

/// A guest's address on the link, once it may be used.
pub(super) fn link_local(guest: &Guest) -> Result<Ipv6Addr> {
    wait_for_address(guest, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0))
}

/// A guest's address with this prefix of 64 bits, once it may be used.
fn wait_for_address(guest: &Guest, prefix: Ipv6Addr) -> Result<Ipv6Addr> {
    let what = format!("{} has an address in {prefix}", guest.instance.name);
    let shown = wait_for(&what, || {
        let words = format!("-o -6 address show dev {} to {prefix}/64", guest.device);
        let shown = guest.instance.namespace.ip(&words)?;
        Ok(Some(shown).filter(|shown| shown.contains("inet6") && !shown.contains("tentative")))
    })?;
    let address = shown.split_whitespace().nth(3).and_then(|word| word.split('/').next());
    Ok(address.context("an address is shown")?.parse()?)
}

fn pings(from: &Guest, to: &str) -> Result<bool> {
    // Its answer tells; the first neighbor solicitation may take a while when the machine is busy.
    Ok(from.instance.namespace.run("ping", &["-n", "-c", "1", "-W", "5", to]).is_ok())
}

/// As RFC 4861 §4.2 has it; the kernel adds the checksum.
fn router_advertisement(router: &Guest, prefix: Ipv6Addr) -> Vec<u8> {
    const LIFETIME_SECONDS: u32 = 1800;
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend((LIFETIME_SECONDS as u16).to_be_bytes());
    message.extend([0; 8]);
    // The router's link-layer address, then the prefix, on this link and for addresses of one's own.
    message.extend([1, 1]);
    message.extend(octets(&router.mac));
    message.extend([3, 4, 64, 0xc0]);
    message.extend([LIFETIME_SECONDS; 2].map(u32::to_be_bytes).concat());
    message.extend([0; 4]);
    message.extend(prefix.octets());
    message
}
