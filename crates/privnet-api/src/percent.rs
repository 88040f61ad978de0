/// Undoes percent-encoding (RFC 3986 §2.1). A `%` without two hexadecimal digits stays.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|digits| octet == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        match hex.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(decoded) => {
                octets.push(decoded);
                rest = &after[2..];
            }
            None => {
                octets.push(octet);
                rest = after;
            }
        }
    }
    octets
}
