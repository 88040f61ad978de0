//! The words of privnet and the rules they obey, as types without I/O, clock or randomness.
//!
//! A value of these types has passed its rules when it was made: an [`AddressRange`] lies in one
//! subnet, a [`Vni`] fits in 24 bits, a [`Name`] is not empty. Whoever holds one checks nothing again.
//!
//! The records ([`Organization`], [`Key`], [`Network`], [`Instance`], [`Port`], [`Host`], [`Invitation`],
//! [`Operation`], [`Carriage`]) are what the store keeps, beside the [`Event`]s of the audit log; [`NetworkState`] is what one host is told about one network.

mod address;
mod causes;
mod event;
mod fingerprint;
mod host;
mod id;
mod instance;
mod invitation;
mod key;
mod lease;
mod mac;
mod network;
mod operation;
mod options;
mod organization;
mod port;
mod signed_request;
mod sorted_map;
mod ssh_key;
mod tap;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod time;
mod vni;
mod wanted;
pub mod zone;

pub use address::{AddressRange, RangeError, StaticAddressError, Subnet, SubnetError};
pub use causes::with_causes;
pub use event::{EVENT_TEXT_CHARS_MAX, Event, EventText};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use host::{Host, HostCertificate, HostCertificates, HostFacts, HostName, HostNameError};
pub use id::{
    HostId, InstanceId, InstanceTypeId, InvitationId, NetworkId, OperationId, OrganizationId, ParseIdError, TemplateId,
};
pub use instance::{Driver, Instance, InstanceProperties, Netns, NetnsError, Placement, Power, PublicIp, UserData};
pub use invitation::Invitation;
pub use key::{Key, KeyId, ParseKeyIdError, Role, Scope, SealedSecret};
pub use lease::{Lease, LeaseKind, next_fit};
pub use mac::{MacAddr, ParseMacError, SERVER_MAC};
pub use network::{Carriage, Generation, Network};
pub use operation::{Applied, Operation, OperationKind, OperationState, Reason, Subject, Wait, WaitPort};
pub use options::{DOMAIN_SEARCH_OCTETS_MAX, DhcpOptions, DomainName, DomainNameError, OptionsError};
pub use organization::{Organization, OrganizationName, OrganizationNameError, Quota, Quotas};
pub use port::{DeviceName, DeviceNameError, Port};
pub use signed_request::{RequestId, SignedRequest};
pub use sorted_map::SortedMap;
pub use ssh_key::{SshKey, SshPublicKey, SshPublicKeyError};
pub use tap::{Account, AccountError, AccountName, Tap};
pub use text::{Description, Labels, Name, TEXT_CHARS_MAX, TextError};
pub use time::Timestamp;
pub use vni::{Vni, VniOutOfRange};
pub use wanted::{
    DeltaError, DhcpSettings, InstanceState, LocalPort, Location, Member, NetworkDelta, NetworkState,
    VXLAN_OVERHEAD_IPV4_BYTES, VXLAN_OVERHEAD_IPV6_BYTES, overlay_mtu_bytes,
};
