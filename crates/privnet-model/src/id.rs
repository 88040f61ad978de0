use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The text is not a UUID in its hyphenated form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50")]
pub struct ParseIdError(pub String);

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The lowest id, which is nobody's.
            pub const MIN: Self = Self(Uuid::nil());

            /// The highest id, which is nobody's.
            pub const MAX: Self = Self(Uuid::max());

            /// An id of UUID version 7: sorted by `unix_ms` first, so that listings come in the
            /// order of creation and an index grows at its end; `random` fills the other 74 bits.
            pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            /// The 16 octets, for stores and wire formats.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id with these octets, whatever UUID version they carry.
            pub const fn from_bytes(octets: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(octets))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                // `Uuid` also reads braces, URNs and 32 bare digits, which no client sends and no reply shows.
                match (text.len(), Uuid::try_parse(text)) {
                    (36, Ok(uuid)) => Ok(Self(uuid)),
                    _ => Err(ParseIdError(text.to_owned())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

typed_id! {
    /// Identifies an organization.
    OrganizationId
    /// Identifies a network.
    NetworkId
    /// Identifies an instance.
    InstanceId
    /// Identifies a host.
    HostId
    /// Identifies an invitation.
    InvitationId
    /// Identifies an operation.
    OperationId
    /// Identifies a size that instances may have.
    InstanceTypeId
    /// Identifies what instances may be made of.
    TemplateId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_their_time_of_creation() {
        let earlier = NetworkId::new(1_000, [0xff; 10]);
        let later = NetworkId::new(1_001, [0; 10]);
        assert!(earlier < later);
    }

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = InstanceId::new(1_790_000_000_000, [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(InstanceId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn only_the_hyphenated_form_is_read() {
        let bare = "0192d3a87c1e7b2a9f345b1c2d3e4f50";
        assert_eq!(bare.parse::<HostId>(), Err(ParseIdError(bare.to_owned())));
        assert!("{0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50}".parse::<HostId>().is_err());
        assert!("0192D3A8-7C1E-7B2A-9F34-5B1C2D3E4F50".parse::<HostId>().is_ok());
    }
}
