//! Certificates (RFC 5280) as they are shown and read.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::der::{Reader, Value, significant, tag};
use crate::error::CertificateError;
use crate::pem;
use crate::x509::X509;

/// The length of a [`Fingerprint`] (SHA-256).
pub const FINGERPRINT_OCTETS: usize = 32;

const LABEL: &str = "CERTIFICATE";
const WHAT: &str = "certificate";

/// id-at-commonName (2.5.4.3).
pub(crate) const OID_COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectKeyIdentifier (2.5.29.14).
pub(crate) const OID_SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
/// id-ce-subjectAltName (2.5.29.17).
pub(crate) const OID_SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The kinds of a GeneralName (RFC 5280 §4.2.1.6) that we know.
pub(crate) const NAME_DNS: u8 = tag::context_primitive(2);
pub(crate) const NAME_URI: u8 = tag::context_primitive(6);
pub(crate) const NAME_IP: u8 = tag::context_primitive(7);

/// The SHA-256 of a certificate's DER. Shown, and read, as 64 hexadecimal digits; colons between them are no matter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_OCTETS]);

impl Fingerprint {
    /// Of these octets.
    pub fn new(octets: [u8; FINGERPRINT_OCTETS]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8; FINGERPRINT_OCTETS] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no SHA-256 fingerprint: 64 hexadecimal digits, colons between them allowed")]
pub struct NoFingerprint(String);

impl std::str::FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digit = |c: char| c.to_digit(16).map(|digit| digit as u8);
        let digits: Option<Vec<u8>> = text.chars().filter(|c| *c != ':').map(digit).collect();
        let octets = digits.filter(|digits| digits.len() == 2 * FINGERPRINT_OCTETS).map(|digits| {
            let octets: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            octets.try_into().expect("half as many octets as digits")
        });
        octets.map(Self).ok_or_else(|| NoFingerprint(text.to_owned()))
    }
}

/// One name of the subject of a certificate (subjectAltName).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AltName {
    /// A DNS name; `*` may stand for its first label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

/// From when to when a certificate is valid, both included; in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: i64,
    /// Its last second.
    pub not_after: i64,
}

/// A certificate. Clones share it.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    details: Details,
}

/// What is read of a certificate.
struct Details {
    serial: String,
    /// The Name as it is encoded.
    subject: Vec<u8>,
    common_name: Option<String>,
    names: Vec<AltName>,
    validity: Validity,
    key_identifier: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads one from DER.
    ///
    /// # Errors
    /// [`CertificateError::Damaged`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        X509::from_der(der)?;
        let damaged = |cause: &str| CertificateError::Damaged { what: WHAT, cause: cause.into() };
        let details = Details::read(der).ok_or_else(|| damaged("it is not as RFC 5280 says"))?;
        let digest = privnet_crypto::sha256(der).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self(Arc::new(Inner { der: der.to_vec(), fingerprint: Fingerprint(digest), details })))
    }

    /// Reads all certificates of a PEM text, in their order; other parts are no matter.
    ///
    /// # Errors
    /// [`CertificateError::Missing`] if there is none, [`CertificateError::Damaged`].
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        let parts = pem::parts(text, |label| label == LABEL);
        let all: Vec<_> = parts.map(|part| Self::from_der(part.der(WHAT)?.as_bytes())).collect::<Result<_, _>>()?;
        if all.is_empty() { Err(CertificateError::Missing(WHAT)) } else { Ok(all) }
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        pem::write_public(LABEL, &self.0.der)
    }

    /// In DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Of the whole certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The serial number that its authority gave it, in small hexadecimal digits without zeros before it.
    pub fn serial(&self) -> &str {
        &self.0.details.serial
    }

    /// The subject's common name, if it has exactly one that is text.
    pub fn common_name(&self) -> Option<&str> {
        self.0.details.common_name.as_deref()
    }

    /// The subject's names (subjectAltName), but for kinds that we do not know.
    pub fn names(&self) -> &[AltName] {
        &self.0.details.names
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> Validity {
        self.0.details.validity
    }

    /// The Name of the subject as it is encoded.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.0.details.subject
    }

    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.0.details.key_identifier.as_deref()
    }

    /// For the library.
    pub(crate) fn to_x509(&self) -> Result<X509, CertificateError> {
        X509::from_der(&self.0.der)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { serial, common_name, names, validity, .. } = &self.0.details;
        f.debug_struct("Certificate")
            .field("common_name", common_name)
            .field("names", names)
            .field("serial", serial)
            .field("validity", validity)
            .field("fingerprint", &self.0.fingerprint)
            .finish()
    }
}

impl Details {
    /// Reads a Certificate (RFC 5280 §4.1).
    fn read(der: &[u8]) -> Option<Self> {
        let mut tbs = Reader(der).any()?.parts().next(tag::SEQUENCE)?.parts();
        tbs.next(tag::context(0));
        let serial = hex_number(tbs.next(tag::INTEGER)?.contents);
        let _signature = tbs.next(tag::SEQUENCE)?;
        let _issuer = tbs.next(tag::SEQUENCE)?;
        let mut validity = tbs.next(tag::SEQUENCE)?.parts();
        let validity = Validity { not_before: time(validity.any()?)?, not_after: time(validity.any()?)? };
        let subject = tbs.next(tag::SEQUENCE)?;
        let _key = tbs.next(tag::SEQUENCE)?;
        let (mut names, mut key_identifier) = (Vec::new(), None);
        if let Some(extensions) = tbs.find(|part| part.tag == tag::context(3)) {
            for extension in extensions.parts().next(tag::SEQUENCE)?.parts() {
                let mut parts = extension.parts();
                let id = parts.next(tag::OBJECT_IDENTIFIER)?.contents;
                parts.next(tag::BOOLEAN);
                let value = parts.next(tag::OCTET_STRING)?.parts();
                match id {
                    OID_SUBJECT_ALT_NAME => names.extend(alt_names(value)?),
                    OID_SUBJECT_KEY_IDENTIFIER => {
                        key_identifier = Some({ value }.next(tag::OCTET_STRING)?.contents.to_vec());
                    }
                    _ => {}
                }
            }
        }
        let common_name = common_name(subject);
        Some(Self { serial, subject: subject.whole.to_vec(), common_name, names, validity, key_identifier })
    }
}

fn alt_names(mut value: Reader<'_>) -> Option<Vec<AltName>> {
    let name = |name: Value<'_>| match name.tag {
        NAME_DNS => text(name.contents).map(AltName::Dns),
        NAME_URI => text(name.contents).map(AltName::Uri),
        NAME_IP => address(name.contents).map(AltName::Ip),
        _ => None,
    };
    Some(value.next(tag::SEQUENCE)?.parts().filter_map(name).collect())
}

/// The one common name of a Name; a subject with several could be taken for either.
fn common_name(subject: Value<'_>) -> Option<String> {
    let attributes = subject.parts().flat_map(Value::parts);
    let mut names = attributes.filter_map(|attribute| {
        let mut parts = attribute.parts();
        (parts.next(tag::OBJECT_IDENTIFIER)?.contents == OID_COMMON_NAME).then_some(parts.any()?)
    });
    let name = names.next().filter(|_| names.next().is_none())?;
    match name.tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => text(name.contents),
        _ => None,
    }
}

/// A text without the control characters that make one look like another.
fn text(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match *octets {
        [a, b, c, d] => Some([a, b, c, d].into()),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// An address as certificates have it.
pub(crate) fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Reads a Time (RFC 5280 §4.1.2.5): two digits of a year mean 1950 to 2049.
fn time(value: Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.contents).ok()?;
    let text = match (value.tag, text.get(..2)?) {
        (tag::UTC_TIME, year) if year < "50" => format!("20{text}"),
        (tag::UTC_TIME, _) => format!("19{text}"),
        (tag::GENERALIZED_TIME, _) => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    // Certificates that never end say the last second of 9999, which is a day later than this clock counts.
    Some(TimeZone::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX).as_second())
}

/// Writes a Time.
pub(crate) fn time_der(seconds: i64) -> Result<Vec<u8>, CertificateError> {
    let time = Timestamp::from_second(seconds).map_err(|_| CertificateError::BadTime(seconds))?;
    let time = TimeZone::UTC.to_datetime(time);
    let (tag, format) = match time.year() {
        1950..=2049 => (tag::UTC_TIME, "%y%m%d%H%M%SZ"),
        0..=9999 => (tag::GENERALIZED_TIME, "%Y%m%d%H%M%SZ"),
        _ => return Err(CertificateError::BadTime(seconds)),
    };
    Ok(crate::der::write(tag, &[time.strftime(format).to_string().as_bytes()]))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn hex_number(big_endian: &[u8]) -> String {
    let digits = hex(significant(big_endian));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".into() } else { digits.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(seconds: i64, der: &[u8]) {
        let written = time_der(seconds).expect("a time");
        assert_eq!(written[2..], *der, "{seconds}");
        assert_eq!(time(Reader(&written).any().expect("a value")), Some(seconds));
    }

    #[test]
    fn years_have_two_digits_until_2049_and_four_from_then_on() {
        check_time(0, b"700101000000Z");
        check_time(2_524_607_999, b"491231235959Z");
        check_time(2_524_608_000, b"20500101000000Z");
        let never_ends = crate::der::write(tag::GENERALIZED_TIME, &[b"99991231235959Z"]);
        assert_eq!(time(Reader(&never_ends).any().expect("a value")), Some(Timestamp::MAX.as_second()));
        assert_eq!(time_der(i64::MAX), Err(CertificateError::BadTime(i64::MAX)));
    }

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons() {
        let fingerprint = Fingerprint::new(std::array::from_fn(|index| index as u8 * 7));
        let plain = fingerprint.to_string();
        assert_eq!(plain.parse(), Ok(fingerprint));
        let pairs: Vec<_> =
            plain.to_uppercase().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
        assert_eq!(pairs.join(":").parse(), Ok(fingerprint), "as openssl prints it");
        for bad in ["", "00", &plain[1..], &plain.replace('0', "g")] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
