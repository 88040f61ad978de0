//! What our devices are called, and what they say about themselves.

use privnet_model::{DeviceName, MacAddr, Netns, Placement, Vni};
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
    let [_, a, b, c, d, e] = mac.octets();
    format!("{PREFIX}{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}")
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
#[error("the path of network namespace {0} is too long by {1} octets to be noted on a device")]
pub(crate) struct AliasTooLong(Netns, usize);

/// What the host side of a port says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) vni: Vni,
    pub(crate) spec: PortSpec,
    /// Tells the namespace that it was plugged into from another one that gets its name.
    pub(crate) netns_inode: u64,
}

impl Alias {
    /// What a restarted agent needs, in words for an operator.
    pub(crate) fn write(&self) -> Result<String, AliasTooLong> {
        let Self { vni, spec, netns_inode } = self;
        let PortSpec { instance, placement: Placement::Netns(netns), device, mtu_bytes, reboots, is_configured } = spec;
        let mut alias = format!(
            "privnet vni={vni} instance={instance} inode={netns_inode} netns={netns} device={device} mtu={mtu_bytes}"
        );
        // An earlier version reads what it has written itself.
        if *reboots > 0 {
            alias.push_str(&format!(" reboots={reboots}"));
        }
        if *is_configured {
            alias.push_str(CONFIGURED);
        }
        match alias.len().checked_sub(ALIAS_OCTETS_MAX) {
            None | Some(0) => Ok(alias),
            Some(excess) => Err(AliasTooLong(netns.clone(), excess)),
        }
    }

    /// What a port's device says, unless its MTU has been changed.
    pub(crate) fn of(link: &Link) -> Option<Self> {
        let is_whole = |alias: &Self| link.mtu_bytes == PORT_MTU_BYTES || alias.spec.mtu_bytes == NOT_NOTED;
        Self::read(&link.alias).filter(is_whole)
    }

    /// Reads what [`write`](Self::write) wrote, also in an earlier version, which did not note the MTU.
    fn read(alias: &str) -> Option<Self> {
        let (vni, rest) = alias.strip_prefix("privnet vni=")?.split_once(" instance=")?;
        let (instance, rest) = rest.split_once(" inode=")?;
        let (netns_inode, rest) = rest.split_once(" netns=")?;
        // A namespace's path may have spaces; a device's name has none.
        let (netns, device) = rest.rsplit_once(" device=")?;
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
        let spec = PortSpec {
            instance: instance.parse().ok()?,
            placement: Placement::Netns(Netns::try_from(netns).ok()?),
            device: DeviceName::try_from(device).ok()?,
            mtu_bytes,
            reboots,
            is_configured,
        };
        let vni = Vni::try_from(vni.parse::<u32>().ok()?).ok()?;
        Some(Self { vni, spec, netns_inode: netns_inode.parse().ok()? })
    }
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
        let alias = Alias { vni: Vni::from_random(4096), spec, netns_inode: 4_026_532_000 };
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
}
