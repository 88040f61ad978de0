use std::net::Ipv4Addr;

use crate::AddressRange;

/// An address that a port holds in a managed network, decided when the port was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The address, unique in its network.
    pub address: Ipv4Addr,
    /// Who chose it.
    pub kind: LeaseKind,
}

/// Who chose a lease's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseKind {
    /// The server, from the network's range.
    Dynamic,
    /// The user, from the network's subnet.
    Static,
}

/// The first free address after `last` in the range, wrapping at its end; `None` when all are taken.
///
/// `last` is the address most recently given out, so an address just released is the last to come
/// back: a client that has not yet noticed its loss keeps a quiet address as long as possible.
pub fn next_fit(range: &AddressRange, last: Option<Ipv4Addr>, is_taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let first = match last {
        Some(last) if range.contains(last) && last < range.end() => last.to_bits() + 1,
        _ => range.start().to_bits(),
    };
    let after_last = first..=range.end().to_bits();
    let wrapped = range.start().to_bits()..first;
    after_last.chain(wrapped).map(Ipv4Addr::from_bits).find(|address| !is_taken(*address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn range(start: u8, end: u8) -> AddressRange {
        AddressRange::new(ip(start), ip(end), Ipv4Addr::new(255, 255, 255, 0)).expect("valid")
    }

    #[test]
    fn goes_on_after_the_last_one_and_wraps() {
        let range = range(10, 12);
        assert_eq!(next_fit(&range, None, |_| false), Some(ip(10)));
        assert_eq!(next_fit(&range, Some(ip(10)), |_| false), Some(ip(11)));
        assert_eq!(next_fit(&range, Some(ip(12)), |_| false), Some(ip(10)));
        assert_eq!(next_fit(&range, Some(ip(11)), |a| a == ip(12)), Some(ip(10)));
        assert_eq!(next_fit(&range, Some(ip(99)), |_| false), Some(ip(10)), "the range has moved since");
    }

    proptest! {
        #[test]
        fn finds_a_free_address_exactly_when_there_is_one(taken in proptest::collection::btree_set(10u8..20, 0..=10), last in proptest::option::of(0u8..30)) {
            let taken: BTreeSet<_> = taken.into_iter().map(ip).collect();
            let found = next_fit(&range(10, 19), last.map(ip), |a| taken.contains(&a));
            match found {
                Some(address) => prop_assert!(!taken.contains(&address) && range(10, 19).contains(address)),
                None => prop_assert_eq!(taken.len(), 10),
            }
        }

        #[test]
        fn a_released_address_is_the_last_to_come_back(released in 10u8..20) {
            let range = range(10, 19);
            let mut last = Some(ip(released));
            for _ in 0..9 {
                last = next_fit(&range, last, |_| false);
                prop_assert_ne!(last, Some(ip(released)));
            }
            prop_assert_eq!(next_fit(&range, last, |_| false), Some(ip(released)));
        }
    }
}
