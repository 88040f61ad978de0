//! PEM (RFC 7468): parts of DER between lines of dashes. Any part may be a private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use privnet_crypto::{Secret, wipe};

use crate::error::CertificateError;

const LINE_CHARS: usize = 64;
/// What a line stands for.
const LINE_OCTETS: usize = LINE_CHARS / 4 * 3;

/// One part of a PEM text.
pub(crate) struct Part<'a> {
    label: &'a str,
    /// With the lines before it that tell how an older form is encrypted (RFC 1421 §4.6). `None`: it is cut off.
    body: Option<&'a str>,
}

impl Part<'_> {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED") || self.body.is_some_and(|body| body.contains("Proc-Type:"))
    }

    pub(crate) fn der(&self, what: &'static str) -> Result<Secret, CertificateError> {
        let damaged = |cause| CertificateError::Damaged { what, cause };
        let body = self.body.ok_or_else(|| damaged("its end is missing".to_owned()))?;
        let lines: Vec<_> = body.split_ascii_whitespace().map(str::as_bytes).collect();
        let body = Secret::of(&lines);
        let octets_max = base64::decoded_len_estimate(body.as_bytes().len());
        let decoded = Secret::filled(octets_max, |octets| STANDARD.decode_slice_unchecked(body.as_bytes(), octets));
        decoded.map_err(|cause| damaged(cause.to_string()))
    }
}

/// The parts of a text that have such a label, and at its end the one that is cut off, whatever it should have been: a
/// file that somebody is about to write is not to be taken for all that it will be. What stands between the parts is
/// no matter.
pub(crate) fn parts<'a>(text: &'a str, is_label: impl Fn(&str) -> bool) -> impl Iterator<Item = Part<'a>> {
    let mut rest = text;
    let all = std::iter::from_fn(move || {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (part, after) = whole(after).unwrap_or((Part { label: "", body: None }, ""));
        rest = after;
        Some(part)
    });
    all.filter(move |part| part.body.is_none() || is_label(part.label))
}

/// A part from its label on, and what follows it.
fn whole(text: &str) -> Option<(Part<'_>, &str)> {
    let (label, after) = text.split_once("-----")?;
    let (body, after) = after.split_once("-----END ")?;
    let (_, after) = after.split_once("-----")?;
    Some((Part { label, body: Some(body) }, after))
}

pub(crate) fn write(label: &str, der: &[u8]) -> Secret {
    let mut text = Secret::of(&[format!("-----BEGIN {label}-----\n").as_bytes()]);
    for octets in der.chunks(LINE_OCTETS) {
        let mut line = [0; LINE_CHARS];
        let chars = STANDARD.encode_slice(octets, &mut line).expect("as many characters as a line has");
        text.push(&line[..chars]);
        text.push(b"\n");
        wipe(&mut line);
    }
    text.push(format!("-----END {label}-----\n").as_bytes());
    text
}

/// As [`write`], of what everybody may see.
pub(crate) fn write_public(label: &str, der: &[u8]) -> String {
    write(label, der).text().expect("ASCII alone").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(part: &Part<'_>) -> Option<Vec<u8>> {
        part.der("part").ok().map(|der| der.as_bytes().to_vec())
    }

    #[test]
    fn parts_are_found_among_other_text_and_have_what_was_written() {
        let text = format!("subject: me\n{}and\r\n{}", write_public("A B", &[1; 100]), write_public("C", &[]));
        let found: Vec<_> = parts(&text, |_| true).map(|part| (part.label, octets(&part).expect("octets"))).collect();
        assert_eq!(found, [("A B", vec![1; 100]), ("C", vec![])]);
        assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
    }

    #[test]
    fn a_part_is_found_by_its_label() {
        let text = write_public("A", &[1]) + &write_public("B", &[2]) + &write_public("A", &[3]);
        let found: Vec<_> = parts(&text, |label| label == "A").map(|part| octets(&part).expect("octets")).collect();
        assert_eq!(found, [[1], [3]]);
    }

    #[test]
    fn what_is_cut_off_is_a_part_of_any_label_and_has_nothing() {
        let (first, second) = (write_public("A", &[1; 100]), write_public("B", &[2; 100]));
        // A line's end may be missing.
        for end in "-----BEGIN ".len()..second.len() - 1 {
            let text = first.clone() + &second[..end];
            let found: Vec<_> = parts(&text, |label| label == "A").map(|part| octets(&part)).collect();
            assert_eq!(found, [Some(vec![1; 100]), None], "{end}");
        }
    }
}
