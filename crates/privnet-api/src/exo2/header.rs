use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Authorization, SCHEME};

/// The longest header's value that is looked at, in octets.
pub const HEADER_OCTETS_MAX: usize = 4096;

/// The longest key id, in octets; Exoscale's have 27.
pub const CREDENTIAL_OCTETS_MAX: usize = 128;

/// How many query arguments a header names at most.
pub const SIGNED_QUERY_ARGS_MAX: usize = 64;

const CREDENTIAL: &str = "credential";
const SIGNED_QUERY_ARGS: &str = "signed-query-args";
const EXPIRES: &str = "expires";
const SIGNATURE: &str = "signature";

/// Why a header's value is none of this scheme. The texts follow "the Authorization header", and quote nothing
/// of it: it may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// More than [`HEADER_OCTETS_MAX`].
    #[error("has {0} octets; {HEADER_OCTETS_MAX} are the most")]
    TooLong(usize),
    /// It has other octets.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Another scheme, or none.
    #[error("is not of the scheme {SCHEME}, which is spoken here")]
    OtherScheme,
    /// Between two commas there is no `=`.
    #[error("has a part that is not name=value")]
    NotAPair,
    /// A part that the scheme does not have.
    #[error("has a part that is none of {CREDENTIAL}, {SIGNED_QUERY_ARGS}, {EXPIRES} and {SIGNATURE}")]
    UnknownPart,
    /// The same part again.
    #[error("has {0} twice")]
    Twice(&'static str),
    /// A part that must be there.
    #[error("has no {0}")]
    Missing(&'static str),
    /// The key's id is empty, or has more than [`CREDENTIAL_OCTETS_MAX`].
    #[error("has a {CREDENTIAL} of {0} octets; 1 to {CREDENTIAL_OCTETS_MAX} are expected")]
    CredentialLength(usize),
    /// One query argument is named again: its value would be signed each time.
    #[error("names a query argument twice in {SIGNED_QUERY_ARGS}")]
    ArgumentTwice,
    /// More than [`SIGNED_QUERY_ARGS_MAX`].
    #[error("names {0} query arguments in {SIGNED_QUERY_ARGS}; {SIGNED_QUERY_ARGS_MAX} are the most")]
    TooManyArguments(usize),
    /// No decimal number of 64 bits.
    #[error("has an {EXPIRES} that is not Unix seconds in decimal")]
    NoTime,
    /// Not the octets of a SHA-256.
    #[error("has a {SIGNATURE} that is not 32 octets in Base64 with its padding")]
    NoSignature,
}

/// A part's name where it is known, and its value.
type Part<'a> = (&'static str, &'a str);

pub(super) fn parse(value: &[u8]) -> Result<Authorization<'_>, HeaderError> {
    if value.len() > HEADER_OCTETS_MAX {
        return Err(HeaderError::TooLong(value.len()));
    }
    let value = std::str::from_utf8(value).map_err(|_| HeaderError::NotUtf8)?;
    let (scheme, parts) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(HeaderError::OtherScheme);
    }
    // A list may have empty elements and white space around its commas (RFC 9110 §5.6.1.2).
    let parts = parts.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts = parts.map(part).collect::<Result<Vec<_>, _>>()?;
    let credential = required(&parts, CREDENTIAL)?;
    if !(1..=CREDENTIAL_OCTETS_MAX).contains(&credential.len()) {
        return Err(HeaderError::CredentialLength(credential.len()));
    }
    let names = optional(&parts, SIGNED_QUERY_ARGS)?.unwrap_or_default();
    Ok(Authorization {
        credential,
        signed_query_args: arguments(names)?,
        expires_unix_s: time(required(&parts, EXPIRES)?)?,
        signature: signature(required(&parts, SIGNATURE)?)?,
    })
}

fn part(text: &str) -> Result<Part<'_>, HeaderError> {
    let (name, value) = text.split_once('=').ok_or(HeaderError::NotAPair)?;
    let known = [CREDENTIAL, SIGNED_QUERY_ARGS, EXPIRES, SIGNATURE].into_iter().find(|known| *known == name);
    known.map(|known| (known, value)).ok_or(HeaderError::UnknownPart)
}

fn optional<'a>(parts: &[Part<'a>], name: &'static str) -> Result<Option<&'a str>, HeaderError> {
    let mut values = parts.iter().filter(|(given, _)| *given == name).map(|(_, value)| *value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(HeaderError::Twice(name)),
    }
}

fn required<'a>(parts: &[Part<'a>], name: &'static str) -> Result<&'a str, HeaderError> {
    optional(parts, name)?.ok_or(HeaderError::Missing(name))
}

fn arguments(names: &str) -> Result<Vec<&str>, HeaderError> {
    let names: Vec<_> = names.split(';').filter(|name| !name.is_empty()).collect();
    if names.len() > SIGNED_QUERY_ARGS_MAX {
        return Err(HeaderError::TooManyArguments(names.len()));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    match sorted.is_sorted_by(|one, next| one < next) {
        true => Ok(names),
        false => Err(HeaderError::ArgumentTwice),
    }
}

fn time(text: &str) -> Result<u64, HeaderError> {
    // Parsing alone would take a sign.
    let is_decimal = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal).ok_or(HeaderError::NoTime)
}

fn signature<const OCTETS: usize>(text: &str) -> Result<[u8; OCTETS], HeaderError> {
    let octets = BASE64_STANDARD.decode(text).map_err(|_| HeaderError::NoSignature)?;
    octets.try_into().map_err(|_| HeaderError::NoSignature)
}
