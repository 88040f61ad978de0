use std::time::Duration;

use crate::Timestamp;

/// A request that somebody has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedRequest {
    /// What it has in common with those alone that are octet by octet the same.
    pub id: RequestId,
    /// When it came.
    pub at: Timestamp,
}

/// Tells a signed request from others: half of its signature, which is not enough to send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; RequestId::OCTETS]);

impl SignedRequest {
    /// How long clients wait at least before they send a request again (go-retryablehttp's `RetryWaitMin`). Wishes
    /// that are equal and have the same signature were signed within one second, and come within it.
    pub const SENT_AGAIN_AFTER: Duration = Duration::from_secs(1);

    /// Whether it is an earlier one that is sent again, as its answer was lost, and not another wish that is equal.
    pub fn repeats(&self, earlier: &Self) -> bool {
        self.id == earlier.id && self.at >= earlier.at.plus(Self::SENT_AGAIN_AFTER)
    }
}

impl RequestId {
    /// How many octets it has.
    pub const OCTETS: usize = 16;

    /// The id with these octets.
    pub const fn from_bytes(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub const fn as_bytes(&self) -> &[u8; Self::OCTETS] {
        &self.0
    }
}
