//! What a host is told about an instance, from the wire to the model and back.

use privnet_model::{InstanceState, Netns};

use crate::proto::{self, instance};
use crate::{MessageError, field};

impl TryFrom<&proto::Instance> for InstanceState {
    type Error = MessageError;

    fn try_from(message: &proto::Instance) -> Result<Self, MessageError> {
        let instance::Driver::Netns(netns) = field::present("driver", message.driver.as_ref())?;
        Ok(Self {
            id: field::instance(&message.instance)?,
            netns: field::rule("netns", Netns::try_from(netns.as_str()))?,
        })
    }
}

/// The message with this serial number.
pub(crate) fn message(state: &InstanceState, serial: u64) -> proto::Instance {
    let driver = instance::Driver::Netns(state.netns.as_str().to_owned());
    proto::Instance { instance: state.id.as_bytes().to_vec(), serial, driver: Some(driver) }
}
