//! Single fields, from the wire to the model and back.

use std::error::Error;
use std::net::IpAddr;

use privnet_model::{InstanceId, MacAddr, NetworkId};

use crate::MessageError;

pub(crate) fn present<T>(field: &'static str, value: Option<T>) -> Result<T, MessageError> {
    value.ok_or(MessageError::Missing { field })
}

pub(crate) fn not_too_many(field: &'static str, entries: usize, max: usize) -> Result<(), MessageError> {
    if entries > max { Err(MessageError::TooMany { field, entries, max }) } else { Ok(()) }
}

/// How many octets a version may have.
const VERSION_OCTETS_MAX: usize = 255;

pub(crate) fn version(version: String) -> Result<String, MessageError> {
    match version.len() {
        0..=VERSION_OCTETS_MAX => Ok(version),
        octets => Err(MessageError::Length { field: "version", octets, expected: "at most 255" }),
    }
}

/// How much of a sentence for people is kept, in octets.
const SENTENCE_OCTETS_MAX: usize = 1024;

/// The beginning of a sentence for people: where it goes on longer than any does that is read, the rest is left out.
pub(crate) fn cut(mut sentence: String) -> String {
    if sentence.len() > SENTENCE_OCTETS_MAX {
        sentence.truncate(sentence.floor_char_boundary(SENTENCE_OCTETS_MAX));
        sentence.shrink_to_fit();
    }
    sentence
}

pub(crate) fn rule<T, E: Error + Send + Sync + 'static>(
    field: &'static str,
    value: Result<T, E>,
) -> Result<T, MessageError> {
    value.map_err(|e| MessageError::Rule { field, source: e.into() })
}

pub(crate) fn network(octets: &[u8]) -> Result<NetworkId, MessageError> {
    id_octets("network", octets).map(NetworkId::from_bytes)
}

pub(crate) fn instance(octets: &[u8]) -> Result<InstanceId, MessageError> {
    id_octets("instance", octets).map(InstanceId::from_bytes)
}

pub(crate) fn id_octets(field: &'static str, octets: &[u8]) -> Result<[u8; 16], MessageError> {
    octets.try_into().map_err(|_| MessageError::Length { field, octets: octets.len(), expected: "16" })
}

pub(crate) fn mac(octets: &[u8]) -> Result<MacAddr, MessageError> {
    let wrong = |_| MessageError::Length { field: "mac", octets: octets.len(), expected: "6" };
    <[u8; 6]>::try_from(octets).map(MacAddr::new).map_err(wrong)
}

pub(crate) fn vtep(octets: &[u8]) -> Result<IpAddr, MessageError> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        Ok(IpAddr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        Ok(IpAddr::from(v6))
    } else {
        Err(MessageError::Length { field: "vtep", octets: octets.len(), expected: "4 or 16" })
    }
}

pub(crate) fn vtep_octets(vtep: IpAddr) -> Vec<u8> {
    match vtep {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
