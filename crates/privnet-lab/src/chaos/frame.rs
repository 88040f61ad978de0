//! The frames of a run: each says who sends it, in which run and round, and for whom it is.

use std::net::Ipv4Addr;

use crate::frame::udp_packet;

pub(crate) type Mac = [u8; 6];

pub(crate) const EVERYBODY: Mac = [0xff; 6];

/// Answers ARP and DHCP for the network itself (design §8).
pub(crate) const SERVER_MAC: Mac = [0x0e, 0, 0, 0, 0, 0];

/// Local Experimental Ethertype 1 (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: [u8; 4] = *b"pnch";
const HEADER: usize = 14;
const OCTETS: usize = 64;

/// Why a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// To a member of the sender's network, all the time.
    Traffic = 1,
    /// One of a quiet period's.
    Mesh = 2,
    /// With a source that is not the sender's; never to be received.
    Forged = 3,
    /// Broadcasts to be in the way.
    Noise = 4,
    /// To the MAC address of another network's port; never to be received.
    Astray = 5,
}

/// One of our frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) destination: Mac,
    /// As the Ethernet header has it.
    pub(crate) source: Mac,
    /// The port that sends it.
    pub(crate) sender: Mac,
    pub(crate) purpose: Purpose,
    /// Tells one run from another on the same machine.
    pub(crate) run: u32,
    pub(crate) round: u32,
}

impl Probe {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(OCTETS);
        for part in [&self.destination[..], &self.source, &ETHERTYPE, &MAGIC, &self.run.to_be_bytes()] {
            frame.extend(part);
        }
        frame.extend(self.round.to_be_bytes());
        frame.extend(self.sender);
        frame.push(self.purpose as u8);
        frame.resize(OCTETS, 0);
        frame
    }

    /// Reads what [`write`](Self::write) wrote; `None` is any other frame.
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        let (destination, source) = addresses(frame)?;
        let rest = frame.get(12..)?.strip_prefix(&ETHERTYPE)?.strip_prefix(&MAGIC)?;
        let (run, rest) = rest.split_first_chunk()?;
        let (round, rest) = rest.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let purpose = match rest.first()? {
            1 => Purpose::Traffic,
            2 => Purpose::Mesh,
            3 => Purpose::Forged,
            4 => Purpose::Noise,
            5 => Purpose::Astray,
            _ => return None,
        };
        let (run, round) = (u32::from_be_bytes(*run), u32::from_be_bytes(*round));
        Some(Self { destination, source, sender: *sender, purpose, run, round })
    }
}

/// Destination and source.
pub(crate) fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let (destination, rest) = frame.split_first_chunk()?;
    Some((*destination, *rest.first_chunk()?))
}

pub(crate) fn text(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// A DHCP answer, as far as it is looked at (RFC 2131 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DhcpAnswer {
    pub(crate) kind: u8,
    pub(crate) xid: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) client: Mac,
}

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOTP_OCTETS: usize = 236;

/// A client's DISCOVER, or with `wanted` an INIT-REBOOT's REQUEST, as a broadcast.
pub(crate) fn dhcp_request(client: Mac, xid: u32, wanted: Option<Ipv4Addr>) -> Vec<u8> {
    let mut message = vec![0; BOOTP_OCTETS];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&xid.to_be_bytes());
    message[28..34].copy_from_slice(&client);
    message.extend(COOKIE);
    match wanted {
        None => message.extend([53, 1, DISCOVER]),
        Some(address) => {
            message.extend([53, 1, REQUEST, 50, 4]);
            message.extend(address.octets());
        }
    }
    message.push(255);
    let packet = udp_packet((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &message);
    [&EVERYBODY[..], &client, &[0x08, 0x00], &packet].concat()
}

/// Reads a server's answer; `None` is any other frame.
pub(crate) fn dhcp_answer(frame: &[u8]) -> Option<DhcpAnswer> {
    let packet = frame.get(HEADER - 2..)?.strip_prefix(&[0x08, 0x00])?;
    let udp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    if packet[9] != 17 || udp.get(..2)? != [0, 67] {
        return None;
    }
    let message = udp.get(8..)?;
    let xid = u32::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let address = Ipv4Addr::from(*message.get(16..)?.first_chunk::<4>()?);
    let client = *message.get(28..)?.first_chunk()?;
    let mut options = message.get(BOOTP_OCTETS..)?.strip_prefix(&COOKIE)?;
    while let [code, octets, rest @ ..] = options {
        if *code == 53 {
            return Some(DhcpAnswer { kind: *rest.first()?, xid, address, client });
        }
        options = rest.get(usize::from(*octets)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_who_sends_it() {
        let probe = Probe {
            destination: EVERYBODY,
            source: [1; 6],
            sender: [2; 6],
            purpose: Purpose::Forged,
            run: 0x0102_0304,
            round: 7,
        };
        assert_eq!(Probe::read(&probe.write()), Some(probe));
        assert_eq!(Probe::read(&dhcp_request([2; 6], 1, None)), None);
        assert_eq!(Probe::read(&[]), None);
    }
}
