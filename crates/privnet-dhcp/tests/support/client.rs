use std::net::Ipv4Addr;

use privnet_model::MacAddr;

use super::*;

/// One request, field by field, as a client sends it.
#[derive(Debug, Clone)]
pub struct Client {
    pub source_mac: MacAddr,
    pub destination_mac: MacAddr,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub op: u8,
    pub htype: u8,
    pub hlen: u8,
    pub xid: u32,
    pub secs: u16,
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub chaddr: MacAddr,
    /// What stands at the beginning of the fields that may hold options; 0 follows.
    pub sname: Vec<u8>,
    pub file: Vec<u8>,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Client {
    /// A broadcast of this message type, from a client that has no address yet.
    pub fn new(kind: u8) -> Self {
        Self {
            source_mac: PORT,
            destination_mac: EVERYBODY_MAC,
            source: NOBODY,
            destination: EVERYBODY,
            op: 1,
            htype: 1,
            hlen: 6,
            xid: 0x1234_5678,
            secs: 3,
            flags: 0,
            ciaddr: NOBODY,
            giaddr: NOBODY,
            chaddr: PORT,
            sname: vec![],
            file: vec![],
            options: vec![(53, vec![kind])],
        }
    }

    pub fn discover() -> Self {
        Self::new(DISCOVER)
    }

    pub fn selecting(server: Ipv4Addr, address: Ipv4Addr) -> Self {
        Self::new(REQUEST).option(54, &server.octets()).option(50, &address.octets())
    }

    pub fn init_reboot(address: Ipv4Addr) -> Self {
        Self::new(REQUEST).option(50, &address.octets())
    }

    /// To everybody.
    pub fn rebinding(address: Ipv4Addr) -> Self {
        Self { source: address, ciaddr: address, ..Self::new(REQUEST) }
    }

    /// To the server alone.
    pub fn renewing(address: Ipv4Addr) -> Self {
        Self { destination_mac: SERVER_MAC, destination: SERVER, ..Self::rebinding(address) }
    }

    pub fn decline(address: Ipv4Addr) -> Self {
        Self::new(DECLINE).option(54, &SERVER.octets()).option(50, &address.octets())
    }

    pub fn release(address: Ipv4Addr) -> Self {
        let to_the_server = Self::new(RELEASE).option(54, &SERVER.octets());
        Self { source: address, ciaddr: address, destination_mac: SERVER_MAC, destination: SERVER, ..to_the_server }
    }

    pub fn inform(address: Ipv4Addr) -> Self {
        Self { source: address, ciaddr: address, ..Self::new(INFORM) }
    }

    pub fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    /// With this parameter request list.
    pub fn asking(self, codes: &[u8]) -> Self {
        self.option(55, codes)
    }

    /// With this maximum message size.
    pub fn taking(self, bytes: u16) -> Self {
        self.option(57, &bytes.to_be_bytes())
    }

    pub fn that_needs_broadcast(self) -> Self {
        Self { flags: 0x8000, ..self }
    }

    pub fn message(&self) -> Vec<u8> {
        let mut message = vec![self.op, self.htype, self.hlen, 0];
        message.extend(self.xid.to_be_bytes());
        message.extend(self.secs.to_be_bytes());
        message.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, NOBODY, NOBODY, self.giaddr] {
            message.extend(address.octets());
        }
        message.extend(self.chaddr.octets());
        message.resize(44, 0);
        message.extend(&self.sname);
        message.resize(108, 0);
        message.extend(&self.file);
        message.resize(236, 0);
        message.extend([99, 130, 83, 99]);
        for (code, value) in &self.options {
            message.extend([*code, value.len() as u8]);
            message.extend(value);
        }
        message.push(255);
        message
    }

    pub fn frame(&self) -> Vec<u8> {
        self.frame_of(&self.message())
    }

    /// This client's frame around another message.
    pub fn frame_of(&self, message: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination_mac.octets(), self.source_mac.octets()].concat();
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((28 + message.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 17, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend([0, 68, 0, 67]);
        frame.extend((8 + message.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        with_right_checksums(frame)
    }
}

/// The offset of the IPv4 header in a frame.
pub const IPV4: usize = 14;
/// The offset of the UDP header in a frame whose IPv4 header has no options.
pub const UDP: usize = IPV4 + 20;

/// The frame with this octet changed and all checksums right again.
pub fn with_octet(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    with_right_checksums(frame)
}

pub fn with_right_checksums(mut frame: Vec<u8>) -> Vec<u8> {
    frame[IPV4 + 10..IPV4 + 12].fill(0);
    let checksum = internet_checksum(&frame[IPV4..UDP]);
    frame[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_be_bytes());
    frame[UDP + 6..UDP + 8].fill(0);
    let checksum = internet_checksum(&with_pseudo_header(&frame[IPV4..UDP], &frame[UDP..]));
    frame[UDP + 6..UDP + 8].copy_from_slice(&checksum.to_be_bytes());
    frame
}
