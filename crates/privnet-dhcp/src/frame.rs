use std::net::Ipv4Addr;

use privnet_model::MacAddr;

use crate::checksum;

/// Where DHCP servers listen (RFC 2131 §4.1).
pub(crate) const SERVER_PORT: u16 = 67;

pub(crate) const ETHERNET_BYTES: usize = 14;
pub(crate) const IPV4_BYTES: usize = 20;
pub(crate) const UDP_BYTES: usize = 8;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;

/// Why a frame is no whole UDP datagram to a DHCP server. In the order in which they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends before a header does.
    #[error("the {0} header is cut off")]
    Truncated(&'static str),
    /// Not IPv4, or with a VLAN tag: networks here have no VLANs.
    #[error("EtherType {0:#06x} is not IPv4")]
    NotIpv4(u16),
    /// The version is not 4, or the header shorter than its fixed part.
    #[error("IPv4 version and header length are {0:#04x}")]
    Ipv4Header(u8),
    /// A length does not fit what it is the length of.
    #[error("the {header} header says {says} octets and {there} are there")]
    Length {
        /// Which header.
        header: &'static str,
        /// What its length field says.
        says: usize,
        /// What there is.
        there: usize,
    },
    /// The IPv4 header's checksum is wrong.
    #[error("the IPv4 header checksum is wrong")]
    Ipv4Checksum,
    /// A piece of a datagram: nobody puts the pieces together here, and no client has to send any.
    #[error("the datagram is fragmented")]
    Fragment,
    /// Another protocol.
    #[error("IP protocol {0} is not UDP")]
    NotUdp(u8),
    /// Another port.
    #[error("UDP port {0} is not the DHCP server's")]
    NotServerPort(u16),
    /// The UDP checksum is wrong.
    #[error("the UDP checksum is wrong")]
    UdpChecksum,
}

/// A UDP datagram to port 67 whose lengths and checksums are right.
pub(crate) struct Datagram<'a> {
    pub(crate) source_mac: MacAddr,
    pub(crate) destination_mac: MacAddr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) payload: &'a [u8],
}

pub(crate) fn parse(frame: &[u8]) -> Result<Datagram<'_>, FrameError> {
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET_BYTES>().ok_or(FrameError::Truncated("Ethernet"))?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, type_high, type_low] = *ethernet;
    match u16::from_be_bytes([type_high, type_low]) {
        ETHERTYPE_IPV4 => {}
        other => return Err(FrameError::NotIpv4(other)),
    }
    let packet = ipv4(packet)?;
    Ok(Datagram {
        source_mac: MacAddr::new([s0, s1, s2, s3, s4, s5]),
        destination_mac: MacAddr::new([d0, d1, d2, d3, d4, d5]),
        destination: packet.destination,
        payload: udp(&packet)?,
    })
}

struct Packet<'a> {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: &'a [u8],
}

fn ipv4(packet: &[u8]) -> Result<Packet<'_>, FrameError> {
    let fixed = packet.first_chunk::<IPV4_BYTES>().ok_or(FrameError::Truncated("IPv4"))?;
    let [version_and_length, _, len_high, len_low, _, _, fragment_high, fragment_low, _, protocol, ..] = *fixed;
    let header_bytes = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header_bytes < IPV4_BYTES {
        return Err(FrameError::Ipv4Header(version_and_length));
    }
    // Short frames are padded by Ethernet, so there may be more octets than the packet has, but not fewer.
    let total_bytes = usize::from(u16::from_be_bytes([len_high, len_low]));
    if !(header_bytes..=packet.len()).contains(&total_bytes) {
        return Err(FrameError::Length { header: "IPv4", says: total_bytes, there: packet.len() });
    }
    let (header, payload) = packet[..total_bytes].split_at(header_bytes);
    if checksum::sum(&[header]) != 0xffff {
        return Err(FrameError::Ipv4Checksum);
    }
    let more_fragments_or_offset = u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff;
    if more_fragments_or_offset != 0 {
        return Err(FrameError::Fragment);
    }
    if protocol != checksum::UDP {
        return Err(FrameError::NotUdp(protocol));
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    Ok(Packet { source: Ipv4Addr::new(s0, s1, s2, s3), destination: Ipv4Addr::new(d0, d1, d2, d3), payload })
}

fn udp<'a>(packet: &Packet<'a>) -> Result<&'a [u8], FrameError> {
    let header = packet.payload.first_chunk::<UDP_BYTES>().ok_or(FrameError::Truncated("UDP"))?;
    let [_, _, port_high, port_low, len_high, len_low, sum_high, sum_low] = *header;
    let udp_bytes = u16::from_be_bytes([len_high, len_low]);
    // A packet may go on after its datagram: RFC 9868 puts UDP options there.
    if !(UDP_BYTES..=packet.payload.len()).contains(&usize::from(udp_bytes)) {
        return Err(FrameError::Length { header: "UDP", says: udp_bytes.into(), there: packet.payload.len() });
    }
    match u16::from_be_bytes([port_high, port_low]) {
        SERVER_PORT => {}
        other => return Err(FrameError::NotServerPort(other)),
    }
    let datagram = &packet.payload[..usize::from(udp_bytes)];
    let pseudo_header = checksum::pseudo_header(packet.source, packet.destination, udp_bytes);
    if !checksum_holds(u16::from_be_bytes([sum_high, sum_low]), &pseudo_header, datagram) {
        return Err(FrameError::UdpChecksum);
    }
    Ok(&datagram[UDP_BYTES..])
}

/// 0 means that the sender made no checksum (RFC 768).
///
/// A client that renews through a UDP socket leaves the checksum to its device, and a virtual device leaves
/// it to the next one (`CHECKSUM_PARTIAL` in Linux): such a frame never crossed a wire, and its checksum
/// field still holds the pseudo header's sum. Refusing it would let every such client's lease run out.
fn checksum_holds(field: u16, pseudo_header: &[u8], datagram: &[u8]) -> bool {
    let left_to_the_device = checksum::sum(&[pseudo_header]);
    field == 0 || field == left_to_the_device || checksum::sum(&[pseudo_header, datagram]) == 0xffff
}
