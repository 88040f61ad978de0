//! The maps' keys and values: bpf/maps.h in Rust. A test holds the two together.

use std::net::{IpAddr, Ipv6Addr};

use privnet_model::{MacAddr, Vni};

/// Raised whenever a layout changes: pinned maps outlive the agent, and those of another version are not used.
pub(crate) const LAYOUT_VERSION: u32 = 3;

/// How many reasons there are to drop a frame, and their names in the order of their numbers.
pub(crate) const DROP_REASONS: [&str; 16] = [
    "closed",
    "too-short",
    "spoofed-mac",
    "spoofed-arp",
    "tagged",
    "dhcp-queue-full",
    "rogue-dhcp",
    "too-big",
    "unknown-unicast",
    "target-closed",
    "unknown-vtep",
    "no-tunnel",
    "bum-limit",
    "dhcp-limit",
    "reserved-group",
    "unknown-vni",
];

/// The row of the counters for what comes from the overlay and has no port.
pub(crate) const OVERLAY_ROW: u32 = 0;
pub(crate) const KIND_VETH: u8 = 0;
pub(crate) const KIND_TAP: u8 = 1;
pub(crate) const DHCP_FRAME_OFFSET: usize = 12;
/// The largest frame that the programs hand to the agent.
#[cfg(test)]
pub(crate) const DHCP_FRAME_OCTETS_MAX: usize = 1536;

macro_rules! layouts {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
            pub(crate) struct $name { $(pub(crate) $field: $type,)* }
            // SAFETY: of fixed layout, without padding (the test below), and valid whatever its octets.
            unsafe impl aya::Pod for $name {}
        )*
        /// Each struct with its size and its fields' offsets.
        #[cfg(test)]
        fn all() -> Vec<(&'static str, usize, Vec<(&'static str, usize)>)> {
            vec![$((
                stringify!($name),
                size_of::<$name>(),
                vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            ),)*]
        }
    };
}

layouts! {
    struct Port {
        vni: u32,
        mac: [u8; 6],
        open: u8,
        kind: u8,
    }
    struct Network {
        mtu: u32,
        local_members: u32,
        remote_members: u32,
        managed: u32,
    }
    struct FdbKey {
        vni: u32,
        mac: [u8; 6],
        unused: [u8; 2],
    }
    struct FdbTarget {
        ifindex: u32,
        vtep: [u8; 16],
    }
    struct VtepKey {
        vni: u32,
        address: [u8; 16],
    }
    struct NeighborKey {
        vni: u32,
        address: [u8; 4],
    }
    struct Neighbor {
        mac: [u8; 6],
        unused: [u8; 2],
    }
    struct MemberKey {
        vni: u32,
        slot: u32,
    }
    struct RemoteMember {
        vtep: [u8; 16],
    }
    struct Counters {
        sent_frames: u64,
        sent_octets: u64,
        received_frames: u64,
        received_octets: u64,
        dhcp_requests: u64,
        arp_replies: u64,
        icmp_replies: u64,
        drops: [u64; DROP_REASONS.len()],
    }
}

impl Port {
    /// The entry of a port that is closed.
    pub(crate) fn closed(vni: Vni, mac: MacAddr, kind: u8) -> Self {
        Self { vni: vni.get(), mac: mac.octets(), open: 0, kind }
    }

    /// Whether it is the entry of this port, open or closed.
    pub(crate) fn is_of(&self, vni: Vni, mac: MacAddr, kind: u8) -> bool {
        Self { open: 0, ..*self } == Self::closed(vni, mac, kind)
    }
}

impl FdbKey {
    pub(crate) fn new(vni: Vni, mac: MacAddr) -> Self {
        Self { vni: vni.get(), mac: mac.octets(), unused: [0; 2] }
    }
}

/// As the maps have it: IPv4 addresses are IPv4-mapped.
pub(crate) fn vtep_octets(vtep: IpAddr) -> [u8; 16] {
    match vtep {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that [`vtep_octets`] wrote.
pub(crate) fn vtep_address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use object::{Object, ObjectSection};

    use super::*;
    use crate::programs::OBJECT;

    #[test]
    fn every_struct_is_as_the_programs_have_it() {
        let types = btf_types();
        for (name, octets, fields) in all() {
            let c_name = snake_case(name);
            let found = types.iter().find(|found| found.kind == STRUCT && found.name == c_name);
            let found = found.unwrap_or_else(|| panic!("no struct {c_name} in the object"));
            let expected: Vec<_> = fields.iter().map(|(name, offset)| ((*name).to_owned(), offset * 8)).collect();
            assert_eq!((found.octets, &found.members), (octets, &expected), "struct {c_name}");
        }
    }

    #[test]
    fn every_drop_reason_is_explained_to_users() {
        let usage = include_str!("../../../docs/usage.md");
        let rows = usage.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ").map(|(name, _)| name));
        let explained: Vec<_> = rows.filter(|name| DROP_REASONS.contains(name)).collect();
        assert_eq!(explained, DROP_REASONS);
    }

    /// The programs' types have no trace of an enum that only gives numbers to constants.
    #[test]
    fn every_drop_reason_has_its_name() {
        let header = include_str!("../bpf/maps.h");
        let (_, rest) = header.split_once("enum drop_reason {").expect("an enum");
        let (reasons, _) = rest.split_once("DROP_REASONS,").expect("with its length");
        let names = reasons.lines().filter_map(|line| line.trim().split_once(','));
        let names: Vec<_> = names.map(|(name, _)| name.trim_end_matches(" = 0")).collect();
        let c_name = |name: &&str| format!("DROP_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(names, DROP_REASONS.iter().map(c_name).collect::<Vec<_>>());
    }

    /// A type, with the offsets of its members in bits if it is a struct.
    struct BtfType {
        name: String,
        kind: u32,
        octets: usize,
        members: Vec<(String, usize)>,
    }

    const STRUCT: u32 = 4;

    /// The object's types (Documentation/bpf/btf.rst in Linux).
    fn btf_types() -> Vec<BtfType> {
        let object = object::File::parse(OBJECT).expect("an ELF object");
        let section = object.section_by_name(".BTF").expect("with BTF");
        let btf = section.data().expect("readable");
        let number = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().expect("four octets")) as usize;
        let [header, types_at, types_octets, names_at] = [4, 8, 12, 16].map(number);
        let name = |at: usize| {
            let name = &btf[header + names_at + at..];
            let octets = name.iter().take_while(|octet| **octet != 0).copied().collect();
            String::from_utf8(octets).expect("UTF-8")
        };
        let mut at = header + types_at;
        let mut types = Vec::new();
        while at < header + types_at + types_octets {
            let (info, octets) = (number(at + 4) as u32, number(at + 8));
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            let start = at + 12;
            let members = (0..if kind == STRUCT { count } else { 0 }).map(|member| start + member * 12);
            let members = members.map(|at| (name(number(at)), number(at + 8))).collect();
            types.push(BtfType { name: name(number(at)), kind, octets, members });
            at = start + octets_of_rest(kind, count);
        }
        types
    }

    fn octets_of_rest(kind: u32, count: usize) -> usize {
        match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            STRUCT | 5 | 15 | 19 => count * 12,
            6 | 13 => count * 8,
            _ => 0,
        }
    }

    fn snake_case(name: &str) -> String {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    }
}
