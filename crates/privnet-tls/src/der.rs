//! DER (X.690 §10), as much of it as certificates need: parts written one into another, and read one after another.

/// The tags that certificates use (X.690 §8).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// A part that is known by its number, and itself has parts.
    pub(crate) const fn context(number: u8) -> u8 {
        0xa0 | number
    }

    /// A part that is known by its number, and has octets of its own.
    pub(crate) const fn context_primitive(number: u8) -> u8 {
        0x80 | number
    }
}

/// A value of the parts, one after the other.
pub(crate) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut der = vec![tag];
    let length = contents.len().to_be_bytes();
    match contents.len() {
        short @ 0..=0x7f => der.push(short as u8),
        long => {
            let significant = &length[long.leading_zeros() as usize / 8..];
            der.push(0x80 | significant.len() as u8);
            der.extend(significant);
        }
    }
    der.extend(contents);
    der
}

/// A SEQUENCE of the parts.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    write(tag::SEQUENCE, parts)
}

/// An INTEGER that is not negative, from its octets.
pub(crate) fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let significant = significant(big_endian);
    match significant.first() {
        Some(0..=0x7f) => write(tag::INTEGER, &[significant]),
        _ => write(tag::INTEGER, &[&[0], significant]),
    }
}

/// A BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    write(tag::BIT_STRING, &[&[0], octets])
}

/// A number without the zeros before it.
pub(crate) fn significant(big_endian: &[u8]) -> &[u8] {
    let zeros = big_endian.iter().take_while(|octet| **octet == 0).count();
    &big_endian[zeros..]
}

/// One value of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Value<'a> {
    /// What it consists of.
    pub(crate) fn parts(self) -> Reader<'a> {
        Reader(self.contents)
    }
}

/// Reads values one after another; each is `None` where there is none, or none that DER allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn any(&mut self) -> Option<Value<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Nothing in a certificate has more than 2^32 octets; 0x80 would be BER's unknown length.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (contents, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Value { tag, contents, whole })
    }

    /// The next value, if it has this tag.
    pub(crate) fn next(&mut self, tag: u8) -> Option<Value<'a>> {
        let mut ahead = *self;
        let value = ahead.any().filter(|value| value.tag == tag)?;
        *self = ahead;
        Some(value)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_one_octet_up_to_127_and_else_says_how_many_it_takes() {
        assert_eq!(write(4, &[&[7; 127]])[..2], [4, 127]);
        assert_eq!(write(4, &[&[7; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(write(4, &[&[7; 300]])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn a_number_has_no_zeros_before_it_and_never_looks_negative() {
        assert_eq!(unsigned(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0]), [2, 1, 0]);
    }

    #[test]
    fn what_is_written_is_read() {
        let der = sequence(&[&unsigned(&[1]), &write(tag::OCTET_STRING, &[&[9; 200]])]);
        let mut outer = Reader(&der);
        let mut parts = outer.any().expect("a sequence").parts();
        assert_eq!(parts.next(tag::INTEGER).expect("a number").contents, [1]);
        assert_eq!(parts.next(tag::INTEGER), None, "the next one is no number");
        assert_eq!(parts.next(tag::OCTET_STRING).expect("octets").contents, [9; 200]);
        assert!(parts.0.is_empty() && outer.0.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_of_unknown_length_is_not_read() {
        for der in [&[][..], &[4], &[4, 5, 1], &[4, 0x81], &[4, 0x80, 1, 0, 0], &[4, 0x85, 0, 0, 0, 0, 1, 7]] {
            assert_eq!(Reader(der).any(), None, "{der:?}");
        }
    }
}
