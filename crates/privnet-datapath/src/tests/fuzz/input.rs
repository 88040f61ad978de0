//! A frame and the way by which it comes in, as a line of text.

use std::fmt;
use std::net::IpAddr;

/// By which device a frame comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    /// That of a port, by its number.
    Port(u8),
    /// The overlay's, with what the tunnel says.
    Overlay(Option<Tunnel>),
    /// The host's own, by which the frames of other hosts come.
    Underlay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tunnel {
    pub(super) vni: u32,
    pub(super) source: IpAddr,
}

/// The outermost tag, which the kernel keeps beside the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) ethertype: u16,
    pub(super) tci: u16,
}

/// A frame that will be cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) payload_octets: u32,
    pub(super) count: u32,
}

/// What the lanes tell flows apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// What the kernel makes of the inner headers.
    pub(super) hash: u32,
    /// Whether its last frame has just taken the offload lane.
    pub(super) rests: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) door: Door,
    pub(super) tag: Option<Tag>,
    pub(super) segments: Option<Segments>,
    pub(super) flow: Flow,
    pub(super) frame: Vec<u8>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.door {
            Door::Port(port) => write!(f, "frame port {port}")?,
            Door::Underlay => write!(f, "frame underlay")?,
            Door::Overlay(None) => write!(f, "frame overlay")?,
            Door::Overlay(Some(Tunnel { vni, source })) => write!(f, "frame overlay {vni} {source}")?,
        }
        if let Some(Tag { ethertype, tci }) = self.tag {
            write!(f, " tag {ethertype} {tci}")?;
        }
        if let Some(Segments { payload_octets, count }) = self.segments {
            write!(f, " segments {payload_octets} {count}")?;
        }
        let Flow { hash, rests } = self.flow;
        write!(f, " flow {hash} {}", if rests { "rests" } else { "goes" })?;
        write!(f, " octets {}", to_hex(&self.frame))
    }
}

impl Input {
    /// With nothing beside the frame.
    pub(super) fn plain(door: Door, frame: Vec<u8>) -> Self {
        Self { door, tag: None, segments: None, flow: Flow { hash: 1, rests: false }, frame }
    }

    /// Reads what was written.
    pub(super) fn read(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("in a case: {text}"));
        let (door, mut rest) = match words[..] {
            ["frame", "port", port, ref rest @ ..] => (Door::Port(number(port) as u8), rest),
            ["frame", "overlay", vni, source, ref rest @ ..] if source.contains(['.', ':']) => {
                let source = source.parse().expect("an address");
                (Door::Overlay(Some(Tunnel { vni: number(vni), source })), rest)
            }
            ["frame", "underlay", ref rest @ ..] => (Door::Underlay, rest),
            ["frame", "overlay", ref rest @ ..] => (Door::Overlay(None), rest),
            _ => panic!("in a case: {line}"),
        };
        let mut input = Self::plain(door, Vec::new());
        loop {
            rest = match rest {
                ["tag", ethertype, tci, rest @ ..] => {
                    input.tag = Some(Tag { ethertype: number(ethertype) as u16, tci: number(tci) as u16 });
                    rest
                }
                ["segments", payload_octets, count, rest @ ..] => {
                    input.segments = Some(Segments { payload_octets: number(payload_octets), count: number(count) });
                    rest
                }
                ["flow", hash, rests, rest @ ..] => {
                    input.flow = Flow { hash: number(hash), rests: *rests == "rests" };
                    rest
                }
                ["octets", octets] => {
                    input.frame = from_hex(octets);
                    return input;
                }
                _ => panic!("in a case: {line}"),
            };
        }
    }
}

pub(super) fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap_or_else(|_| panic!("in hexadecimal: {text}"));
    (0..text.len()).step_by(2).map(octet).collect()
}
