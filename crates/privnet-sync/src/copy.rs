//! A network's state as a file keeps it: the message that also goes over the wire.

use prost::Message;

use privnet_model::NetworkState;

use crate::{MessageError, proto};

/// The octets that [`decode_network_state`] reads.
pub fn encode_network_state(state: &NetworkState) -> Vec<u8> {
    proto::NetworkState::from(state).encode_to_vec()
}

/// The state that [`encode_network_state`] wrote.
///
/// # Errors
/// [`MessageError`] when the octets are something else. Octets that are missing at the end are not
/// always noticed: whoever keeps them must know how many there were.
pub fn decode_network_state(octets: &[u8]) -> Result<NetworkState, MessageError> {
    proto::NetworkState::decode(octets)?.try_into()
}
