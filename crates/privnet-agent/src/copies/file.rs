//! What a file holds: eight octets that say what it is, a CRC-32 of the rest (little-endian), and the rest, a
//! message of the sync protocol.

use privnet_model::{InstanceState, NetworkId, NetworkState};
use privnet_sync::{MessageError, decode_instances, decode_network_state, encode_instances, encode_network_state};

const MAGIC: &[u8; 8] = b"pnstate1";
const HEADER_OCTETS: usize = MAGIC.len() + 4;

/// A file is not a copy of what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum CorruptError {
    #[error("it has {0} octets, less than a header")]
    Short(usize),
    #[error("it does not start as a copy does")]
    Magic,
    #[error("its checksum does not hold")]
    Checksum,
    #[error("it holds something else")]
    Message(#[source] MessageError),
    #[error("it holds another network, {0}")]
    OtherNetwork(NetworkId),
}

pub(super) fn encode_network_file(state: &NetworkState) -> Vec<u8> {
    with_header(&encode_network_state(state))
}

pub(super) fn encode_instances_file<'a>(states: impl Iterator<Item = &'a InstanceState>) -> Vec<u8> {
    with_header(&encode_instances(states))
}

fn with_header(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &crc32fast::hash(message).to_le_bytes(), message].concat()
}

pub(super) fn decode_network_file(network: NetworkId, content: &[u8]) -> Result<NetworkState, CorruptError> {
    let state = decode_network_state(without_header(content)?).map_err(CorruptError::Message)?;
    if state.id == network { Ok(state) } else { Err(CorruptError::OtherNetwork(state.id)) }
}

pub(super) fn decode_instances_file(content: &[u8]) -> Result<Vec<InstanceState>, CorruptError> {
    decode_instances(without_header(content)?).map_err(CorruptError::Message)
}

fn without_header(content: &[u8]) -> Result<&[u8], CorruptError> {
    let (header, message) = content.split_at_checked(HEADER_OCTETS).ok_or(CorruptError::Short(content.len()))?;
    let checksum = header.strip_prefix(MAGIC).ok_or(CorruptError::Magic)?;
    if checksum == crc32fast::hash(message).to_le_bytes() { Ok(message) } else { Err(CorruptError::Checksum) }
}
