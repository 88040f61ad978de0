//! What a file keeps: the messages that also go over the wire.

use prost::Message;

use privnet_model::{InstanceState, NetworkState};

use crate::{MessageError, instance, proto};

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

/// The octets that [`decode_instances`] reads.
pub fn encode_instances<'a>(states: impl Iterator<Item = &'a InstanceState>) -> Vec<u8> {
    proto::Instances { instances: states.map(|state| instance::message(state, 0)).collect() }.encode_to_vec()
}

/// The states that [`encode_instances`] wrote.
///
/// # Errors
/// As [`decode_network_state`].
pub fn decode_instances(octets: &[u8]) -> Result<Vec<InstanceState>, MessageError> {
    proto::Instances::decode(octets)?.instances.iter().map(InstanceState::try_from).collect()
}
