//! Certificates as they are made: by an authority of our own, on request, or signed by themselves.

use std::net::IpAddr;

use crate::certificate::{
    AltName, Certificate, NAME_DNS, NAME_IP, NAME_URI, OID_COMMON_NAME, OID_SUBJECT_ALT_NAME,
    OID_SUBJECT_KEY_IDENTIFIER, Validity, octets_of, time_der,
};
use crate::der::{Reader, bit_string, sequence, tag, unsigned, write};
use crate::error::CertificateError;
use crate::key::PrivateKey;
use crate::pem;
use crate::x509;

/// How long the serial number of a certificate that we make is. RFC 5280 §4.1.2.2 allows 20 octets.
pub const SERIAL_OCTETS: usize = 16;
/// The longest common name that X.520 allows.
pub const COMMON_NAME_CHARS_MAX: usize = 64;

const REQUEST_LABEL: &str = "CERTIFICATE REQUEST";
const REQUEST: &str = "certificate signing request";

/// ecdsa-with-SHA256 (1.2.840.10045.4.3.2).
const OID_ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ce-keyUsage (2.5.29.15).
const OID_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// id-ce-basicConstraints (2.5.29.19).
const OID_BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// id-ce-authorityKeyIdentifier (2.5.29.35).
const OID_AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
/// id-ce-extKeyUsage (2.5.29.37).
const OID_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-kp-serverAuth (1.3.6.1.5.5.7.3.1).
const OID_SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// id-kp-clientAuth (1.3.6.1.5.5.7.3.2).
const OID_CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// How the SubjectPublicKeyInfo of a P-256 key begins (RFC 5480 §2.1.1); its 65 octets follow.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// keyUsage digitalSignature (RFC 5280 §4.2.1.3), with the number of bits that are not used.
const USAGE_SIGNATURE: &[u8] = &[7, 0b1000_0000];
/// keyUsage keyCertSign and cRLSign.
const USAGE_AUTHORITY: &[u8] = &[1, 0b0000_0110];

/// What the key of a certificate may be used for (extended key usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To be a server.
    Server,
    /// To be a client.
    Client,
    /// Both.
    Both,
}

/// What a certificate says of its subject.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The number by which its authority knows it: random octets, so that nobody can guess the next.
    pub serial: [u8; SERIAL_OCTETS],
    /// At most [`COMMON_NAME_CHARS_MAX`] characters.
    pub common_name: &'a str,
    /// What it may be reached or known by.
    pub names: &'a [AltName],
    /// What for.
    pub uses: Use,
    /// From when to when.
    pub validity: Validity,
}

/// A request for a certificate (PKCS#10, RFC 2986), which proves that its sender has the key.
#[derive(Debug, Clone)]
pub struct SigningRequest {
    der: Vec<u8>,
    /// The SubjectPublicKeyInfo.
    public_key: Vec<u8>,
}

impl SigningRequest {
    /// A request for this key. The name in it is for people: the authority decides on the certificate's.
    ///
    /// # Errors
    /// [`CertificateError::NotP256`], [`CertificateError::BadName`], [`CertificateError::Library`].
    pub fn new(key: &PrivateKey, common_name: &str) -> Result<Self, CertificateError> {
        let public_key = p256(key.raw().public_der()?)?;
        let attributes = write(tag::context(0), &[]);
        let info = sequence(&[&unsigned(&[0]), &name(common_name)?, &public_key, &attributes]);
        Ok(Self { der: signed(&info, key)?, public_key })
    }

    /// Reads one from DER, and has its sender's signature verified. Its key is a P-256 one, as all that we make.
    ///
    /// # Errors
    /// [`CertificateError::Damaged`], [`CertificateError::NotP256`], [`CertificateError::ForgedRequest`],
    /// [`CertificateError::Library`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let damaged = || CertificateError::Damaged { what: REQUEST, cause: "it is not as RFC 2986 says".into() };
        // The sender has chosen the key: the library is not to read, nor to verify by, one that takes it long.
        p256(key_in(der).ok_or_else(damaged)?)?;
        Ok(Self { der: der.to_vec(), public_key: p256(x509::key_of_request(der)?)? })
    }

    /// Reads the first of a PEM text, as [`from_der`](Self::from_der) does.
    ///
    /// # Errors
    /// [`CertificateError::Missing`], and those of [`from_der`](Self::from_der).
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let mut parts = pem::parts(text, |label| label.ends_with(REQUEST_LABEL));
        Self::from_der(parts.next().ok_or(CertificateError::Missing(REQUEST))?.der(REQUEST)?.as_bytes())
    }

    /// In DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The public key that it is for: its SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        pem::write_public(REQUEST_LABEL, &self.der)
    }
}

/// Somebody whose signature makes certificates: a certificate that says so, and its P-256 key.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

impl Authority {
    /// Makes one, with a key of its own and signed by itself. It may sign certificates of ends, not of authorities.
    ///
    /// # Errors
    /// [`CertificateError::BadName`], [`CertificateError::BadTime`], [`CertificateError::Library`].
    pub fn create(
        common_name: &str,
        serial: [u8; SERIAL_OCTETS],
        validity: Validity,
    ) -> Result<Self, CertificateError> {
        let key = PrivateKey::generate()?;
        let public_key = key.raw().public_der()?;
        let name = name(common_name)?;
        let identifier = key_identifier(&public_key)?;
        let no_authority_below = sequence(&[&write(tag::BOOLEAN, &[&[0xff]]), &unsigned(&[0])]);
        let extensions = [
            extension(OID_BASIC_CONSTRAINTS, true, &no_authority_below),
            extension(OID_KEY_USAGE, true, &write(tag::BIT_STRING, &[USAGE_AUTHORITY])),
            extension(OID_SUBJECT_KEY_IDENTIFIER, false, &write(tag::OCTET_STRING, &[&identifier])),
        ];
        let body = certificate_body(serial, validity, &name, &name, &public_key, &extensions)?;
        Ok(Self { certificate: Certificate::from_der(&signed(&body, &key)?)?, key })
    }

    /// Reads one from PEM texts, which may be the same.
    ///
    /// # Errors
    /// Those of [`Certificate::all_from_pem`] and [`PrivateKey::from_pem`]; [`CertificateError::KeyMismatch`],
    /// [`CertificateError::NotAnAuthority`], [`CertificateError::NotP256`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let certificate = Certificate::all_from_pem(certificate)?.swap_remove(0);
        let key = PrivateKey::from_pem(key)?;
        let x509 = certificate.to_x509()?;
        if !x509.has_key(key.raw()) {
            return Err(CertificateError::KeyMismatch);
        }
        if !x509.is_authority() {
            return Err(CertificateError::NotAnAuthority);
        }
        p256(x509.public_key()?)?;
        Ok(Self { certificate, key })
    }

    /// Its certificate: whom others trust, and, by its fingerprint, what they compare.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Makes a certificate for the key of a request. What else the request says is no matter.
    ///
    /// # Errors
    /// [`CertificateError::BadName`], [`CertificateError::BadTime`], [`CertificateError::Library`].
    pub fn sign(&self, request: &SigningRequest, subject: &Subject<'_>) -> Result<Certificate, CertificateError> {
        let issuer = Issuer {
            name: self.certificate.subject(),
            key_identifier: self.certificate.key_identifier(),
            key: &self.key,
        };
        issuer.certify(&request.public_key, subject)
    }
}

/// Makes a certificate that is signed by its own P-256 key, and may sign no other.
///
/// # Errors
/// [`CertificateError::NotP256`], [`CertificateError::BadName`], [`CertificateError::BadTime`],
/// [`CertificateError::Library`].
pub fn self_signed(key: &PrivateKey, subject: &Subject<'_>) -> Result<Certificate, CertificateError> {
    let public_key = p256(key.raw().public_der()?)?;
    let identifier = key_identifier(&public_key)?;
    let issuer = Issuer { name: &name(subject.common_name)?, key_identifier: Some(&identifier), key };
    issuer.certify(&public_key, subject)
}

/// Who signs.
struct Issuer<'a> {
    /// As it is encoded.
    name: &'a [u8],
    key_identifier: Option<&'a [u8]>,
    key: &'a PrivateKey,
}

impl Issuer<'_> {
    fn certify(&self, public_key: &[u8], subject: &Subject<'_>) -> Result<Certificate, CertificateError> {
        let names: Vec<u8> = subject.names.iter().map(general_name).collect::<Result<Vec<_>, _>>()?.concat();
        let uses: &[&[u8]] = match subject.uses {
            Use::Server => &[OID_SERVER_AUTH],
            Use::Client => &[OID_CLIENT_AUTH],
            Use::Both => &[OID_SERVER_AUTH, OID_CLIENT_AUTH],
        };
        let uses: Vec<u8> = uses.iter().flat_map(|id| write(tag::OBJECT_IDENTIFIER, &[id])).collect();
        let own_identifier = key_identifier(public_key)?;
        let mut extensions = vec![
            extension(OID_BASIC_CONSTRAINTS, true, &sequence(&[])),
            extension(OID_KEY_USAGE, true, &write(tag::BIT_STRING, &[USAGE_SIGNATURE])),
            extension(OID_EXTENDED_KEY_USAGE, false, &sequence(&[&uses])),
            extension(OID_SUBJECT_KEY_IDENTIFIER, false, &write(tag::OCTET_STRING, &[&own_identifier])),
        ];
        if let Some(identifier) = self.key_identifier {
            let identifier = sequence(&[&write(tag::context_primitive(0), &[identifier])]);
            extensions.push(extension(OID_AUTHORITY_KEY_IDENTIFIER, false, &identifier));
        }
        if !names.is_empty() {
            extensions.push(extension(OID_SUBJECT_ALT_NAME, false, &sequence(&[&names])));
        }
        let own_name = name(subject.common_name)?;
        let body = certificate_body(subject.serial, subject.validity, self.name, &own_name, public_key, &extensions)?;
        Certificate::from_der(&signed(&body, self.key)?)
    }
}

/// A TBSCertificate (RFC 5280 §4.1.2), version 3.
fn certificate_body(
    serial: [u8; SERIAL_OCTETS],
    validity: Validity,
    issuer: &[u8],
    subject: &[u8],
    public_key: &[u8],
    extensions: &[Vec<u8>],
) -> Result<Vec<u8>, CertificateError> {
    Ok(sequence(&[
        &write(tag::context(0), &[&unsigned(&[2])]),
        &unsigned(&serial),
        &ecdsa_sha256(),
        issuer,
        &sequence(&[&time_der(validity.not_before)?, &time_der(validity.not_after)?]),
        subject,
        public_key,
        &write(tag::context(3), &[&sequence(&[&extensions.concat()])]),
    ]))
}

/// What is signed, how, and the signature: the form of certificates as well as of requests.
fn signed(body: &[u8], key: &PrivateKey) -> Result<Vec<u8>, CertificateError> {
    Ok(sequence(&[body, &ecdsa_sha256(), &bit_string(&key.raw().sign(body)?)]))
}

fn ecdsa_sha256() -> Vec<u8> {
    sequence(&[&write(tag::OBJECT_IDENTIFIER, &[OID_ECDSA_SHA256])])
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    // DER leaves out what is the default.
    let critical = if critical { write(tag::BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    sequence(&[&write(tag::OBJECT_IDENTIFIER, &[id]), &critical, &write(tag::OCTET_STRING, &[value])])
}

/// A Name that is one common name.
fn name(common_name: &str) -> Result<Vec<u8>, CertificateError> {
    let bad = common_name.chars().any(char::is_control)
        || !(1..=COMMON_NAME_CHARS_MAX).contains(&common_name.chars().count());
    if bad {
        return Err(CertificateError::BadName(common_name.to_owned()));
    }
    let text = write(tag::UTF8_STRING, &[common_name.as_bytes()]);
    let attribute = sequence(&[&write(tag::OBJECT_IDENTIFIER, &[OID_COMMON_NAME]), &text]);
    Ok(sequence(&[&write(tag::SET, &[&attribute])]))
}

fn general_name(name: &AltName) -> Result<Vec<u8>, CertificateError> {
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic());
    match name {
        AltName::Dns(dns) if is_dns_name(dns.strip_prefix("*.").unwrap_or(dns)) => {
            Ok(write(NAME_DNS, &[dns.as_bytes()]))
        }
        AltName::Uri(uri) if graphic(uri) => Ok(write(NAME_URI, &[uri.as_bytes()])),
        AltName::Ip(address) => Ok(write(NAME_IP, &[&octets_of(*address)])),
        AltName::Dns(bad) | AltName::Uri(bad) => Err(CertificateError::BadName(bad.clone())),
    }
}

/// Whether a text is a host name (RFC 1123 §2.1; underscores are let pass, as resolvers do) and no address.
pub(crate) fn is_dns_name(text: &str) -> bool {
    const NAME_CHARS_MAX: usize = 253;
    const LABEL_CHARS_MAX: usize = 63;
    let label = |label: &str| {
        (1..=LABEL_CHARS_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    text.len() <= NAME_CHARS_MAX && text.split('.').all(label) && text.parse::<IpAddr>().is_err()
}

/// The SubjectPublicKeyInfo in a CertificationRequest (RFC 2986 §4), as its sender has encoded it.
fn key_in(request: &[u8]) -> Option<&[u8]> {
    let mut info = Reader(request).next(tag::SEQUENCE)?.parts().next(tag::SEQUENCE)?.parts();
    let _version = info.next(tag::INTEGER)?;
    let _subject = info.next(tag::SEQUENCE)?;
    Some(info.next(tag::SEQUENCE)?.whole)
}

/// A SubjectPublicKeyInfo, if it is of P-256.
fn p256<T: AsRef<[u8]>>(public_key: T) -> Result<T, CertificateError> {
    if public_key.as_ref().starts_with(P256_PREFIX) { Ok(public_key) } else { Err(CertificateError::NotP256) }
}

/// The first 160 bits of the SHA-256 of the key itself (RFC 7093 §2, method 1).
fn key_identifier(public_key: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let doing = "identify a key";
    let bits = Reader(public_key).any().and_then(|info| info.parts().find(|part| part.tag == tag::BIT_STRING));
    let key = bits
        .and_then(|bits| bits.contents.get(1..))
        .ok_or(CertificateError::Library { doing, cause: "it is not as RFC 5280 says".into() })?;
    let digest =
        privnet_crypto::sha256(key).map_err(|error| CertificateError::Library { doing, cause: error.to_string() })?;
    Ok(digest[..20].to_vec())
}
