//! The instances' ends of ports that the host configures: what a DHCP client would set there is set from here.
//!
//! Only what is marked as ours is ever changed or removed, and it is marked in the kernel, so that an agent that
//! starts anew knows it. What the instance sets itself stays.

use std::collections::{BTreeSet, HashMap};

use privnet_model::{MacAddr, Placement};
use privnet_plan::{Configuration, Route};

use crate::error::Step;
use crate::names::{Alias, Anchor};
use crate::netlink::{Link, NetlinkError, Socket};
use crate::{ApplyError, Datapath, netns};

/// How many instances are entered in one round of reading the kernel, a few milliseconds' work. Where there are more,
/// each has its turn in some of the rounds.
const ENDS_IN_ROUND: usize = 32;

/// What is known of the configured ends.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// As they were set, or found, the last time.
    known: HashMap<MacAddr, Configuration>,
    round: usize,
}

impl Ends {
    /// A round of reading begins, in which these ports are there.
    pub(crate) fn begin_round(&mut self, ports: &BTreeSet<MacAddr>) {
        self.round = self.round.wrapping_add(1);
        self.known.retain(|mac, _| ports.contains(mac));
    }

    fn is_due(&self, mac: MacAddr) -> bool {
        let rounds = self.known.len().div_ceil(ENDS_IN_ROUND).max(1);
        let [.., last] = mac.octets();
        !self.known.contains_key(&mac) || usize::from(last) % rounds == self.round % rounds
    }

    /// From now on this is known of a port's end.
    pub(crate) fn note(&mut self, mac: MacAddr, configuration: Configuration) {
        self.known.insert(mac, configuration);
    }

    /// From now on nothing is.
    pub(crate) fn forget(&mut self, mac: MacAddr) {
        self.known.remove(&mac);
    }
}

impl Datapath {
    /// Sets what is wanted, and removes what was set before and is not wanted any more.
    pub(crate) fn configure(&mut self, mac: MacAddr, wanted: &Configuration) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        let alias = Alias::of(&link).ok_or(ApplyError::NotPlugged(mac))?;
        if let Some((mut netlink, end)) = instance_end(&link, &alias)? {
            let done = set(&mut netlink, &end, wanted);
            done.step(format_args!("configure the instance's device {} with {wanted}", alias.spec.device))?;
        }
        self.ends.note(mac, wanted.clone());
        Ok(())
    }

    /// What is set on the instance's end of a port; what was known before where this is not the round to look, or the
    /// instance has taken its end where it is not found.
    pub(crate) fn configuration(&mut self, mac: MacAddr, link: &Link) -> Configuration {
        let Some(alias) = Alias::of(link).filter(|alias| alias.spec.is_configured) else {
            return Configuration::default();
        };
        if self.ends.is_due(mac)
            && let Ok(Some((mut netlink, end))) = instance_end(link, &alias)
            && let Ok(found) = read(&mut netlink, &end)
        {
            self.ends.note(mac, found);
        }
        self.ends.known.get(&mac).cloned().unwrap_or_default()
    }
}

/// The instance's end of a port, with a socket where it is. `None`: the instance has taken it elsewhere, and another
/// device may have its index there.
///
/// # Errors
/// The namespace is not there, or is another one of that name.
pub(crate) fn instance_end(link: &Link, alias: &Alias) -> Result<Option<(Socket, Link)>, ApplyError> {
    let Some(peer) = link.peer else { return Ok(None) };
    let (Placement::Netns(netns), Anchor::Netns(inode)) = (&alias.spec.placement, alias.anchor) else {
        return Ok(None);
    };
    let found = netns::open(netns)?;
    if netns::inode(&found).step(format_args!("look at network namespace {netns}"))? != inode {
        return Err(ApplyError::NetnsNotFound(netns.clone()));
    }
    let mut netlink = netns::netlink(&found)?;
    let end = netlink.link_at(peer.index).step(format_args!("look for device {} in {netns}", alias.spec.device))?;
    let is_end = |end: &Link| end.peer.is_some_and(|peer| peer.index == link.index);
    Ok(end.filter(is_end).map(|end| (netlink, end)))
}

fn read(netlink: &mut Socket, end: &Link) -> Result<Configuration, NetlinkError> {
    let addresses = netlink.addresses(end.index)?;
    let addresses = addresses.into_iter().filter(|(_, is_ours)| *is_ours).map(|(address, _)| address).collect();
    Ok(Configuration { is_up: end.is_up, addresses, routes: netlink.our_routes(end.index)? })
}

/// The new address comes before the old one goes, so that the device is never without one and what the instance has
/// set beside it stays; what the kernel removes with an address is set anew.
fn set(netlink: &mut Socket, end: &Link, wanted: &Configuration) -> Result<(), NetlinkError> {
    let index = end.index;
    let found = read(netlink, end)?;
    if wanted.is_up && !end.is_up {
        netlink.set_up(index)?;
    }
    for route in found.routes.difference(&wanted.routes) {
        netlink.remove_route(index, *route)?;
    }
    // Otherwise other addresses of the subnet would go with the first one.
    netlink.promote_secondaries(index)?;
    for address in wanted.addresses.difference(&found.addresses) {
        netlink.add_address(index, *address)?;
    }
    for address in found.addresses.difference(&wanted.addresses) {
        netlink.remove_address(index, *address)?;
    }
    let left = netlink.our_routes(index)?;
    let missing = wanted.routes.difference(&left).copied();
    // A gateway must be reachable before there is a route by it.
    let (on_link, by_gateway): (Vec<Route>, Vec<Route>) = missing.partition(|route| route.gateway.is_none());
    on_link.into_iter().chain(by_gateway).try_for_each(|route| netlink.add_route(index, route))
}
