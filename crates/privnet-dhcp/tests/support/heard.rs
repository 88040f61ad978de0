use std::net::Ipv4Addr;

use dhcproto::Decodable;
use dhcproto::v4::Message;
use privnet_dhcp::{Reply, ReplyKind};

use super::{internet_checksum, with_pseudo_header};

/// One answer, taken apart again. Whatever every answer must hold was checked on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub kind: ReplyKind,
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ports: (u16, u16),
    /// The IP packet's length.
    pub packet_bytes: usize,
    /// The DHCP message.
    pub message: Vec<u8>,
    /// Its options in the order in which they are to be read (RFC 2131 §4.1), without padding.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Heard {
    pub fn new(reply: &Reply) -> Self {
        let frame = reply.frame.as_slice();
        assert_eq!(frame[12..14], [0x08, 0x00], "EtherType");
        let (header, datagram) = frame[14..].split_at(20);
        assert_eq!(header[0], 0x45);
        assert_eq!(internet_checksum(header), 0, "IPv4 header checksum");
        assert_eq!(usize::from(number(&header[2..4])), 20 + datagram.len());
        assert_eq!(header[9], 17, "protocol");
        assert_eq!(usize::from(number(&datagram[4..6])), datagram.len());
        assert_ne!(datagram[6..8], [0, 0], "a UDP checksum");
        assert_eq!(internet_checksum(&with_pseudo_header(header, datagram)), 0, "UDP checksum");
        let message = datagram[8..].to_vec();
        Self {
            kind: reply.kind,
            source_mac: frame[6..12].try_into().expect("that long"),
            destination_mac: frame[0..6].try_into().expect("that long"),
            source: address(&header[12..16]),
            destination: address(&header[16..20]),
            ports: (number(&datagram[0..2]), number(&datagram[2..4])),
            packet_bytes: header.len() + datagram.len(),
            options: options(&message),
            message,
        }
    }

    /// How many options stand in the field of that name.
    pub fn options_in_their_field(&self) -> usize {
        options_in(&self.message[240..]).len()
    }

    /// Read by somebody else's decoder, which does not look into the other fields for options.
    pub fn decoded(&self) -> Message {
        Message::from_bytes(&self.message).expect("a message")
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| value.as_slice())
    }

    pub fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }

    pub fn message_type(&self) -> u8 {
        self.option(53).expect("given")[0]
    }

    pub fn yiaddr(&self) -> Ipv4Addr {
        address(&self.message[16..20])
    }

    pub fn ciaddr(&self) -> Ipv4Addr {
        address(&self.message[12..16])
    }
}

fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = options_in(&message[240..]);
    let overload = found.iter().find(|(code, _)| *code == 52).map_or(0, |(_, value)| value[0]);
    for (bit, field) in [(1, &message[108..236]), (2, &message[44..108])] {
        if overload & bit != 0 {
            found.extend(options_in(field));
        } else {
            assert!(field.iter().all(|octet| *octet == 0), "a field without options is empty");
        }
    }
    found
}

fn options_in(field: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = field;
    while rest[0] != 255 {
        let (option, after) = rest.split_at(2 + usize::from(rest[1]));
        found.push((option[0], option[2..].to_vec()));
        rest = after;
    }
    assert!(rest[1..].iter().all(|octet| *octet == 0), "only padding follows the end option");
    found
}

fn number(octets: &[u8]) -> u16 {
    u16::from_be_bytes(octets.try_into().expect("that long"))
}

fn address(octets: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(octets).expect("that long").into()
}
