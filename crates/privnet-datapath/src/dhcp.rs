use std::io;

use aya::Ebpf;
use aya::maps::{MapData, MapError, RingBuf};
use privnet_model::{MacAddr, Vni};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::KernelError;
use crate::error::Step;
use crate::layout::DHCP_FRAME_OFFSET;

/// A frame that a port's instance has sent to a DHCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpRequest {
    /// The port's network.
    pub vni: Vni,
    /// The port.
    pub port: MacAddr,
    /// The whole frame. Its UDP checksum may not be filled in.
    pub frame: Vec<u8>,
}

/// The DHCP requests of this host's ports, in the order in which they came. What comes while nobody
/// reads waits here, and what finds no place any more is dropped and counted.
pub struct DhcpRequests(AsyncFd<RingBuf<MapData>>);

impl DhcpRequests {
    pub(crate) fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let map = object.take_map("dhcp_requests").ok_or(MapError::ElementNotFound);
        let ring = map.and_then(RingBuf::try_from).step(format_args!("use the eBPF map dhcp_requests"))?;
        // SAFETY: the ring owns its map's file descriptor and keeps it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(io::Error::from);
        Ok(Self(ring.step(format_args!("wait for DHCP requests"))?))
    }

    /// The next one.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn next(&mut self) -> io::Result<DhcpRequest> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            match guard.get_inner_mut().next().map(|record| read(&record)) {
                Some(Some(request)) => return Ok(request),
                Some(None) => {}
                None => guard.clear_ready(),
            }
        }
    }
}

/// Reads struct dhcp_request of bpf/maps.h.
pub(crate) fn read(record: &[u8]) -> Option<DhcpRequest> {
    let vni = u32::from_ne_bytes(*record.first_chunk()?);
    let port: [u8; 6] = *record.get(4..)?.first_chunk()?;
    let octets = u16::from_ne_bytes(*record.get(10..)?.first_chunk()?);
    let frame = record.get(DHCP_FRAME_OFFSET..)?.get(..octets.into())?;
    Some(DhcpRequest { vni: Vni::try_from(vni).ok()?, port: port.into(), frame: frame.to_vec() })
}
