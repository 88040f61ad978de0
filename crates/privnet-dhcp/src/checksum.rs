use std::net::Ipv4Addr;

/// The protocol number of UDP (RFC 768).
pub(crate) const UDP: u8 = 17;

/// The one's complement sum of 16-bit words (RFC 1071 §1), not yet complemented: 0xffff over data that
/// holds its own correct checksum. All parts but the last have an even length.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut total: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// What the UDP checksum covers beside the datagram itself (RFC 768).
pub(crate) fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, udp_bytes: u16) -> [u8; 12] {
    let [s, d, len] = [source.octets(), destination.octets(), u32::from(udp_bytes).to_be_bytes()];
    [s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3], 0, UDP, len[2], len[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&[&data]), 0xddf2);
        assert_eq!(sum(&[&data[..2], &data[2..]]), 0xddf2);
    }

    #[test]
    fn an_odd_last_octet_counts_as_the_high_half_of_a_word() {
        assert_eq!(sum(&[&[0x12, 0x34, 0x56]]), 0x1234 + 0x5600);
    }
}
