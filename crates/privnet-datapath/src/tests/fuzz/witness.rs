//! bpf/tests/witness.h in Rust.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use aya::maps::MapData;

pub(super) const WAYS_MAX: usize = 64;
pub(super) const HEAD_OCTETS: usize = 192;
/// In [`Witness::vlan`] beside the tag.
pub(super) const TAGGED: u32 = 1 << 16;

pub(super) const CALL_REDIRECT: u32 = 0;
pub(super) const CALL_REDIRECT_PEER: u32 = 1;
pub(super) const CALL_CLONE: u32 = 2;
pub(super) const CALL_REDIRECT_NEIGH: u32 = 3;

/// struct bpf_tunnel_key.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TunnelKey {
    pub(super) vni: u32,
    pub(super) remote: [u32; 4],
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) flags: u16,
    pub(super) label: u32,
    pub(super) local: [u32; 4],
}

pub(super) const TUNINFO_IPV6: u32 = 1 << 0;

impl TunnelKey {
    /// How an address is written, and the flag for its family.
    pub(super) fn address(address: IpAddr) -> ([u32; 4], u32) {
        match address {
            IpAddr::V4(address) => ([address.into(), 0, 0, 0], 0),
            IpAddr::V6(address) => {
                let octets = address.octets();
                let word = |at: usize| u32::from_ne_bytes(*octets[4 * at..].first_chunk().expect("four octets"));
                ([0, 1, 2, 3].map(word), TUNINFO_IPV6)
            }
        }
    }

    pub(super) fn remote_address(&self, flags: u32) -> IpAddr {
        if flags & TUNINFO_IPV6 == 0 {
            return Ipv4Addr::from(self.remote[0]).into();
        }
        let octets = self.remote.map(u32::to_ne_bytes).concat();
        IpAddr::from(*octets.first_chunk::<16>().expect("four words"))
    }

    /// As the kernel reads it: of IPv4 addresses no more than their own octets.
    pub(super) fn read(mut self, flags: u32) -> Self {
        if flags & TUNINFO_IPV6 == 0 {
            self.remote[1..].fill(0);
            self.local[1..].fill(0);
        }
        self
    }
}

/// struct bpf_fib_lookup; ports and IPv4 addresses as on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) family: u8,
    pub(super) protocol: u8,
    pub(super) source_port: [u8; 2],
    pub(super) destination_port: [u8; 2],
    pub(super) octets: u16,
    pub(super) ifindex: u32,
    pub(super) tos: u32,
    pub(super) source: [[u8; 4]; 4],
    pub(super) destination: [[u8; 4]; 4],
    pub(super) rest: [u32; 4],
}

/// struct bpf_redir_neigh.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Neighbor {
    pub(super) family: u32,
    pub(super) address: [[u8; 4]; 4],
}

/// struct way.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct WayTaken {
    pub(super) call: u32,
    pub(super) ifindex: u32,
    pub(super) flags: u32,
    pub(super) octets: u32,
    pub(super) vlan: u32,
    pub(super) tunneled: u32,
    pub(super) tunnel: TunnelKey,
    pub(super) tunnel_flags: u32,
    pub(super) head: [u8; HEAD_OCTETS],
    pub(super) neighbor: Neighbor,
}

/// struct witness.
#[repr(C)]
pub(super) struct Witness {
    pub(super) program: u32,
    pub(super) octets: u32,
    pub(super) now_ns: u64,
    pub(super) now_ticks: u64,
    pub(super) random: u32,
    pub(super) flow_hash: u32,
    pub(super) route_result: u32,
    pub(super) route_ifindex: u32,
    /// As on the wire.
    pub(super) route_next_hop: [u8; 4],
    pub(super) vlan: u32,
    pub(super) vlan_protocol: u32,
    pub(super) tunneled: u32,
    pub(super) tunnel_in: TunnelKey,
    pub(super) tunnel_in_flags: u32,
    pub(super) tunnel_set: u32,
    pub(super) tunnel_out: TunnelKey,
    pub(super) tunnel_out_flags: u32,
    pub(super) route: Route,
    pub(super) ways: u32,
    pub(super) way: [WayTaken; WAYS_MAX],
}

/// The first and only entry of a map, in memory that is the programs', too.
pub(super) fn shared(map: &MapData) -> NonNull<Witness> {
    let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, map.fd().as_fd().as_raw_fd());
    // SAFETY: a new mapping, of a map whose entry has that size; the mapping keeps the map.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Witness>(), protection, libc::MAP_SHARED, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    NonNull::new(at.cast()).expect("somewhere")
}
