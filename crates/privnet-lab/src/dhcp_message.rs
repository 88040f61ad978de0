//! DHCP messages, for what no client can be told to do.

use std::net::Ipv4Addr;

use crate::frame::udp_packet;

/// Message types (RFC 2132 §9.6).
pub const DISCOVER: u8 = 1;
/// As [`DISCOVER`].
pub const OFFER: u8 = 2;
/// As [`DISCOVER`].
pub const REQUEST: u8 = 3;
/// As [`DISCOVER`].
pub const DECLINE: u8 = 4;
/// As [`DISCOVER`].
pub const ACK: u8 = 5;
/// As [`DISCOVER`].
pub const INFORM: u8 = 8;

/// Where a frame's message begins, and in it its addresses and its options (RFC 2131 §2).
const MESSAGE: usize = 14 + 20 + 8;
const CIADDR: usize = 12;
const YIADDR: usize = 16;
const CHADDR: usize = 28;
const OPTIONS: usize = 240;

/// The shortest message of BOOTP (RFC 951 §3).
const MESSAGE_BYTES_MIN: usize = 300;

/// A client's message of this type: its MAC address, the address that it has, if any, and options as they stand in
/// the message.
pub fn dhcp_message(kind: u8, mac: &[u8], ciaddr: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0, 0, 0, 7];
    message.resize(CIADDR, 0);
    message.extend(ciaddr.octets());
    message.resize(CHADDR, 0);
    message.extend(mac);
    message.resize(OPTIONS - 4, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind]);
    message.extend(options);
    message.push(255);
    message.resize(message.len().max(MESSAGE_BYTES_MIN), 0);
    message
}

/// Such a message of a client without an address, in a broadcast frame.
pub fn dhcp_broadcast(kind: u8, mac: &[u8], options: &[u8]) -> Vec<u8> {
    let message = dhcp_message(kind, mac, Ipv4Addr::UNSPECIFIED, options);
    let packet = udp_packet((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &message);
    [&[0xff; 6][..], mac, &[0x08, 0x00], &packet].concat()
}

/// The options of a client that takes an offer: the address and the server that it names.
///
/// `None` if it names no server.
pub fn selection(offer: &DhcpAnswer) -> Option<Vec<u8>> {
    Some([&[50, 4][..], &offer.yiaddr().octets(), &[54, 4], offer.option(54)?].concat())
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpAnswer(Vec<u8>);

impl DhcpAnswer {
    /// What a frame brings from a DHCP server, if it does.
    pub fn in_frame(frame: &[u8]) -> Option<Self> {
        let is_from_server =
            frame.get(12..14)? == [0x08, 0x00] && *frame.get(23)? == 17 && frame.get(34..36)? == [0, 67];
        Self::new(frame.get(MESSAGE..)?).filter(|_| is_from_server)
    }

    /// A message; `None` if it is too short for one.
    pub fn new(message: &[u8]) -> Option<Self> {
        (message.len() > OPTIONS).then(|| Self(message.to_vec()))
    }

    /// Its type.
    pub fn kind(&self) -> Option<u8> {
        self.option(53)?.first().copied()
    }

    /// The address that the client is given.
    pub fn yiaddr(&self) -> Ipv4Addr {
        let [a, b, c, d] = std::array::from_fn(|i| self.0[YIADDR + i]);
        Ipv4Addr::new(a, b, c, d)
    }

    /// The MAC address of the client that it is for.
    pub fn chaddr(&self) -> &[u8] {
        &self.0[CHADDR..CHADDR + 6]
    }

    /// The value of an option.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        let mut rest = &self.0[OPTIONS..];
        loop {
            match *rest {
                [0, ref after @ ..] => rest = after,
                [found, length, ref after @ ..] if found != 255 => {
                    let (value, after) = after.split_at_checked(length.into())?;
                    if found == code {
                        return Some(value);
                    }
                    rest = after;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_behind_padding_and_not_behind_the_end() {
        let answer = |options: &[u8]| DhcpAnswer([&[0; OPTIONS][..], options].concat());
        assert_eq!(answer(&[0, 53, 1, 2, 54, 2, 8, 9, 255]).option(54), Some(&[8, 9][..]));
        assert_eq!(answer(&[53, 1, 2, 255, 54, 1, 8]).option(54), None);
        assert_eq!(answer(&[54, 9, 8]).option(54), None, "it is cut off");
    }

    #[test]
    fn only_frames_from_a_server_are_answers() {
        let mut frame = dhcp_broadcast(DISCOVER, &[2; 6], &[]);
        assert_eq!(DhcpAnswer::in_frame(&frame), None);
        frame[34..36].copy_from_slice(&[0, 67]);
        let answer = DhcpAnswer::in_frame(&frame).expect("an answer");
        assert_eq!((answer.kind(), answer.chaddr()), (Some(DISCOVER), &[2; 6][..]));
        assert_eq!(DhcpAnswer::in_frame(&frame[..100]), None);
    }
}
