//! Netlink's framing (netlink(7)): messages with a header, attributes of type, length and value.

const HEADER_OCTETS: usize = 16;
const ATTRIBUTE_HEADER_OCTETS: usize = 4;
const ALIGNMENT: usize = 4;
/// The upper two bits of an attribute's type say how it is encoded.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// A request under construction.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request of this kind. `fixed` are the parts of its fixed header.
    pub(crate) fn new(kind: u16, flags: libc::c_int, fixed: &[&[u8]]) -> Self {
        let mut octets = vec![0; HEADER_OCTETS];
        octets[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = flags | libc::NLM_F_REQUEST;
        octets[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        octets.extend(fixed.iter().copied().flatten());
        Self(octets)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.nested(kind, |message| message.raw(value))
    }

    /// Adds an attribute that is a text with a NUL at its end.
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        self.nested(kind, |message| message.raw(text.as_bytes()).raw(&[0]))
    }

    /// Adds an attribute whose value is what `fill` adds.
    pub(crate) fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        self = fill(self);
        let octets = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&octets.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// Adds octets as they are.
    pub(crate) fn raw(mut self, octets: &[u8]) -> Self {
        self.0.extend(octets);
        self
    }

    /// The octets to send.
    pub(super) fn finish(&mut self, sequence: u32) -> &[u8] {
        let octets = self.0.len() as u32;
        self.0[..4].copy_from_slice(&octets.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.0
    }
}

/// One message of the kernel's.
pub(crate) struct Part<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages in what was received.
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let octets = u32_at(self.0, 0)? as usize;
        let message = self.0.get(..octets)?;
        let body = message.get(HEADER_OCTETS..)?;
        self.0 = self.0.get(octets.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Part { kind: u16_at(message, 4)?, flags: u16_at(message, 6)?, sequence: u32_at(message, 8)?, body })
    }
}

/// The attributes in a value.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The values of all of this kind.
    pub(crate) fn all(self, kind: u16) -> impl Iterator<Item = &'a [u8]> {
        self.filter(move |(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The value of the first one of this kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes within the first one of this kind; none if there is no such one.
    pub(crate) fn within(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let octets = usize::from(u16_at(self.0, 0)?);
        let value = self.0.get(ATTRIBUTE_HEADER_OCTETS..octets)?;
        let kind = u16_at(self.0, 2)? & ATTRIBUTE_TYPE;
        self.0 = self.0.get(octets.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A text that may have a NUL at its end.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// A number in the host's byte order.
pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

pub(crate) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_built() {
        let mut message = Message::new(16, libc::NLM_F_ACK, &[&[1, 2, 3, 4]])
            .text(3, "pn0")
            .nested(18, |m| m.attribute(1, &[9]).attribute(2, &7u32.to_ne_bytes()));
        let octets = message.finish(5).to_vec();
        let part = Messages::new(&octets).next().expect("one");
        assert_eq!((part.kind, part.sequence, part.flags), (16, 5, 5));
        let attributes = Attributes::new(&part.body[4..]);
        assert_eq!(attributes.get(3).map(text).as_deref(), Some("pn0"));
        assert_eq!(attributes.within(18).get(1), Some(&[9][..]));
        assert_eq!(attributes.within(18).get(2).and_then(|v| u32_at(v, 0)), Some(7));
        assert_eq!(attributes.get(4), None);
    }

    #[test]
    fn nonsense_is_read_as_nothing() {
        for octets in [&[][..], &[3, 0, 0, 0], &[255; 40], &[2, 0, 1, 0, 9]] {
            assert!(Messages::new(octets).next().is_none());
            assert!(Attributes::new(octets).next().is_none());
        }
    }
}
