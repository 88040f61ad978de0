//! What our devices are called, and what they say about themselves.

use std::fmt;

use privnet_model::{Account, DeviceName, MacAddr, Netns, Placement, Tap, Vni};
use privnet_plan::PortSpec;

use crate::netlink::Link;

/// The device by which frames reach and leave the overlay.
pub(crate) const OVERLAY_DEVICE: &str = "pnvxlan";
/// The device from which the programs look up routes. No frame ever passes it.
pub(crate) const ROUTE_DEVICE: &str = "pnroute";
const PREFIX: &str = "pn";

/// The MTU of the host side of a port. It is none for its network: what is too big for that is to come as
/// far as the program that counts and answers it.
pub(crate) const PORT_MTU_BYTES: u32 = 65535;

/// The host side of a port's device. Every port's MAC address begins with 0a, so the other five
/// octets are a name for it.
pub(crate) fn port_device(mac: MacAddr) -> String {
    DeviceName::on_host(mac).as_str().to_owned()
}

/// The port whose host side has this name.
pub(crate) fn port_of_device(name: &str) -> Option<MacAddr> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 10)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let number = digits.bytes().all(lower_hex).then(|| u64::from_str_radix(digits, 16).ok()).flatten()?;
    let [_, _, _, octets @ ..] = number.to_be_bytes();
    Some(MacAddr::for_port(octets))
}

/// Whether a device of this name is one of those that we make.
pub(crate) fn is_ours(name: &str) -> bool {
    name == OVERLAY_DEVICE || name == ROUTE_DEVICE || port_of_device(name).is_some()
}

/// The most octets of an interface alias (IFALIASZ less the NUL at its end).
const ALIAS_OCTETS_MAX: usize = 255;

/// The MTU of a port that an earlier version has plugged in. No network has it, so it is set when the port is seen.
pub(crate) const NOT_NOTED: u32 = 0;

/// What the alias of a port ends with whose end in the instance the host configures.
const CONFIGURED: &str = " configured";

/// What there is to say about a port is more than the kernel keeps.
#[derive(Debug, thiserror::Error)]
#[error("{0} is too long by {1} octets to be noted on a device")]
pub(crate) struct AliasTooLong(String, usize);

/// What the host side of a port says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) vni: Vni,
    pub(crate) spec: PortSpec,
    /// What tells that it is still where it was plugged in.
    pub(crate) anchor: Anchor,
}

/// What a name stood for on this host when a port was plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The inode of the network namespace, which another one that gets its name does not have.
    Netns(u64),
    /// The numbers of those who may open the tap.
    Tap(Openers),
}

/// Who may open a tap, by number: a user, the members of a group, or who is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Openers {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Alias {
    /// What a restarted agent needs, in words for an operator.
    pub(crate) fn write(&self) -> Result<String, AliasTooLong> {
        let Self { vni, spec, anchor } = self;
        let PortSpec { instance, placement, device, mtu_bytes, reboots, is_configured } = spec;
        let place = match placement {
            Placement::Netns(netns) => format!("netns={netns}"),
            Placement::Tap(tap) => written(tap),
        };
        let mut alias =
            format!("privnet vni={vni} instance={instance} {anchor} {place} device={device} mtu={mtu_bytes}");
        // An earlier version reads what it has written itself.
        if *reboots > 0 {
            alias.push_str(&format!(" reboots={reboots}"));
        }
        if *is_configured {
            alias.push_str(CONFIGURED);
        }
        match alias.len().checked_sub(ALIAS_OCTETS_MAX) {
            None | Some(0) => Ok(alias),
            Some(excess) => Err(AliasTooLong(place, excess)),
        }
    }

    /// What a port's device says, unless the MTU of a veth pair has been changed. A tap's MTU is what the device has.
    pub(crate) fn of(link: &Link) -> Option<Self> {
        let mut alias = Self::read(&link.alias)?;
        match alias.spec.placement {
            Placement::Netns(_) => {
                let is_whole = link.mtu_bytes == PORT_MTU_BYTES || alias.spec.mtu_bytes == NOT_NOTED;
                is_whole.then_some(alias)
            }
            Placement::Tap(_) => {
                alias.spec.mtu_bytes = link.mtu_bytes;
                Some(alias)
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote, also in an earlier version, which did not note the MTU.
    fn read(alias: &str) -> Option<Self> {
        let (vni, rest) = alias.strip_prefix("privnet vni=")?.split_once(" instance=")?;
        let (instance, rest) = rest.split_once(' ')?;
        // A namespace's path may have spaces; a device's name has none.
        let (place, device) = rest.rsplit_once(" device=")?;
        let (device, is_configured) = match device.strip_suffix(CONFIGURED) {
            Some(device) => (device, true),
            None => (device, false),
        };
        let (device, reboots) = match device.split_once(" reboots=") {
            Some((device, reboots)) => (device, reboots.parse().ok()?),
            None => (device, 0),
        };
        let (device, mtu_bytes) = match device.split_once(" mtu=") {
            Some((device, mtu_bytes)) => (device, mtu_bytes.parse().ok()?),
            None => (device, NOT_NOTED),
        };
        let (anchor, placement) = match place.strip_prefix("inode=") {
            Some(place) => {
                let (inode, netns) = place.split_once(" netns=")?;
                (Anchor::Netns(inode.parse().ok()?), Placement::Netns(Netns::try_from(netns).ok()?))
            }
            None => read_tap(place)?,
        };
        let (instance, device) = (instance.parse().ok()?, DeviceName::try_from(device).ok()?);
        let spec = PortSpec { instance, placement, device, mtu_bytes, reboots, is_configured };
        let vni = Vni::try_from(vni.parse::<u32>().ok()?).ok()?;
        Some(Self { vni, spec, anchor })
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netns(inode) => write!(f, "inode={inode}"),
            Self::Tap(Openers { uid, gid }) => write!(f, "uid={} gid={}", or_none(*uid), or_none(*gid)),
        }
    }
}

fn written(tap: &Tap) -> String {
    let Tap { owner, group, is_multi_queue } = tap;
    let queues = if *is_multi_queue { "many" } else { "one" };
    format!("owner={} group={} queues={queues}", or_none(owner.as_ref()), or_none(group.as_ref()))
}

/// Reads a tap's [`Anchor`] and what [`written`] wrote of it; neither has spaces.
fn read_tap(place: &str) -> Option<(Anchor, Placement)> {
    let mut words = place.split(' ');
    let mut value = |key: &str| words.next()?.strip_prefix(key);
    let (uid, gid) = (read_number(value("uid=")?)?, read_number(value("gid=")?)?);
    let (owner, group) = (read_account(value("owner=")?)?, read_account(value("group=")?)?);
    let is_multi_queue = match value("queues=")? {
        "many" => true,
        "one" => false,
        _ => return None,
    };
    Some((Anchor::Tap(Openers { uid, gid }), Placement::Tap(Tap { owner, group, is_multi_queue })))
}

/// Stands for none, since no account is called so.
const NONE: &str = ":";

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn read_number(text: &str) -> Option<Option<u32>> {
    if text == NONE { Some(None) } else { text.parse().ok().map(Some) }
}

fn read_account(text: &str) -> Option<Option<Account>> {
    if text == NONE { Some(None) } else { Account::try_from(text).ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use privnet_model::InstanceId;

    use super::*;

    #[test]
    fn a_port_and_its_device_name_each_other() {
        let mac = MacAddr::for_port([0, 1, 0xab, 0xff, 9]);
        assert_eq!(port_device(mac), "pn0001abff09");
        assert_eq!(port_of_device("pn0001abff09"), Some(mac));
        for other in ["pnvxlan", "pn0001abff0", "pn0001abff090", "pn0001ABFF09", "eth0", "pn+001abff09", ""] {
            assert_eq!(port_of_device(other), None, "{other}");
        }
    }

    #[test]
    fn an_alias_says_what_a_restarted_agent_needs() {
        let spec = PortSpec {
            instance: InstanceId::new(1, [2; 10]),
            placement: Placement::Netns(Netns::try_from("/run/my netns=/x device=y").expect("valid")),
            device: DeviceName::of_port(0),
            mtu_bytes: 1450,
            reboots: 0,
            is_configured: false,
        };
        let alias = Alias { vni: Vni::from_random(4096), spec, anchor: Anchor::Netns(4_026_532_000) };
        let written = alias.write().expect("short");
        assert_eq!(Alias::read(&written), Some(alias.clone()));
        let earlier = Alias { spec: PortSpec { mtu_bytes: NOT_NOTED, ..alias.spec.clone() }, ..alias.clone() };
        assert_eq!(Alias::read(written.strip_suffix(" mtu=1450").expect("last")), Some(earlier));
        let rebooted = Alias { spec: PortSpec { reboots: 3, ..alias.spec.clone() }, ..alias.clone() };
        assert_eq!(rebooted.write().expect("short"), format!("{written} reboots=3"));
        assert_eq!(Alias::read(&format!("{written} reboots=3")), Some(rebooted.clone()));
        let spec = PortSpec { is_configured: true, ..rebooted.spec };
        let configured = Alias { spec, ..rebooted };
        assert_eq!(configured.write().expect("short"), format!("{written} reboots=3 configured"));
        assert_eq!(Alias::read(&format!("{written} reboots=3 configured")), Some(configured));
        let path = format!("/{}", "x".repeat(300));
        let placement = Placement::Netns(Netns::try_from(&*path).expect("valid"));
        let refusal = Alias { spec: PortSpec { placement, ..alias.spec }, ..alias }.write().expect_err("too long");
        assert!(refusal.to_string().ends_with("too long by 153 octets to be noted on a device"), "{refusal}");
        for other in ["", "privnet", "privnet vni=0 instance=x inode=1 netns=y device=z mtu=1450", "uplink"] {
            assert_eq!(Alias::read(other), None, "{other}");
        }
    }

    #[test]
    fn an_alias_of_a_tap_says_who_may_open_it() {
        let account = |text: &str| Some(Account::try_from(text).expect("valid"));
        let spec = |placement| PortSpec {
            instance: InstanceId::MAX,
            placement: Placement::Tap(placement),
            device: DeviceName::try_from("a_longer_name_1").expect("valid"),
            mtu_bytes: 65485,
            reboots: 0,
            is_configured: false,
        };
        let longest = Tap { owner: account(&"x".repeat(32)), group: account(&"y".repeat(32)), is_multi_queue: true };
        let vni = Vni::from_random(u64::MAX);
        let all = Openers { uid: Some(u32::MAX - 1), gid: Some(u32::MAX - 1) };
        let root = Openers { uid: Some(0), gid: None };
        for (tap, openers) in [(longest, all), (Tap::default(), root)] {
            let alias = Alias { vni, spec: spec(tap), anchor: Anchor::Tap(openers) };
            assert_eq!(Alias::read(&alias.write().expect("short")), Some(alias));
        }
        let written = "uid=0 gid=: owner=: group=: queues=one";
        assert!(read_tap(written).is_some());
        for bad in ["uid=x gid=: owner=: group=: queues=one", "uid=0 gid=: owner=: group=: queues=2", "uid=0 gid=:"] {
            assert_eq!(read_tap(bad), None, "{bad}");
        }
    }
}
