//! PEM (RFC 7468): parts of DER between lines of dashes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::CertificateError;

const LINE_CHARS: usize = 64;

/// One part of a PEM text.
pub(crate) struct Part<'a> {
    pub(crate) label: &'a str,
    /// With the lines before it that tell how an older form is encrypted (RFC 1421 §4.6).
    body: &'a str,
}

impl Part<'_> {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED") || self.body.contains("Proc-Type:")
    }

    pub(crate) fn der(&self, what: &'static str) -> Result<Vec<u8>, CertificateError> {
        let body: String = self.body.split_ascii_whitespace().collect();
        STANDARD.decode(body).map_err(|cause| CertificateError::Damaged { what, cause: cause.to_string() })
    }
}

/// The parts of a text; what stands between them is no matter.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once("-----END ")?;
        rest = after;
        Some(Part { label, body })
    })
}

pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(LINE_CHARS) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_among_other_text_and_have_what_was_written() {
        let text = format!("subject: me\n{}and\r\n{}", write("A B", &[1; 100]), write("C", &[]));
        let found: Vec<_> = parts(&text).map(|part| (part.label, part.der("part").expect("octets"))).collect();
        assert_eq!(found, [("A B", vec![1; 100]), ("C", vec![])]);
        assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
    }

    #[test]
    fn what_is_cut_off_is_no_part() {
        let text = write("A", &[1; 100]);
        assert_eq!(parts(&text[..text.len() - 20]).count(), 0);
    }
}
