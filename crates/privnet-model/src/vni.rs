use std::fmt;

/// VXLAN Network Identifier: 24 bits on the wire (RFC 7348 §5). Zero is never given to a network,
/// as the API documents `vni` with an exclusive minimum of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

/// The number is zero or does not fit in 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a VNI (1 to {max})", max = Vni::MAX)]
pub struct VniOutOfRange(pub u32);

impl Vni {
    /// The largest VNI.
    pub const MAX: u32 = (1 << 24) - 1;

    /// The number, 1 to [`Vni::MAX`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The VNI that `random` selects, all of them being equally likely.
    pub const fn from_random(random: u64) -> Self {
        Self((random % Self::MAX as u64) as u32 + 1)
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniOutOfRange;

    fn try_from(number: u32) -> Result<Self, VniOutOfRange> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(VniOutOfRange(number)) }
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vni_is_1_to_16777215() {
        assert_eq!(Vni::try_from(0), Err(VniOutOfRange(0)));
        assert_eq!(Vni::try_from(1).map(Vni::get), Ok(1));
        assert_eq!(Vni::try_from(0xff_ffff).map(Vni::get), Ok(16_777_215));
        assert_eq!(Vni::try_from(0x100_0000), Err(VniOutOfRange(0x100_0000)));
    }

    #[test]
    fn every_random_number_selects_a_valid_vni() {
        for random in [0, 1, u64::from(Vni::MAX) - 1, u64::from(Vni::MAX), u64::MAX] {
            assert!(Vni::try_from(Vni::from_random(random).get()).is_ok());
        }
    }
}
