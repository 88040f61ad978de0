//! "Reacquisition and expiration"

use privnet_dhcp::{LEASE_SECONDS, REBINDING_SECONDS, RENEWAL_SECONDS};

use crate::support::*;

#[test]
fn t1_is_half_the_lease_and_t2_seven_eighths_of_it() {
    assert_eq!((RENEWAL_SECONDS * 2, REBINDING_SECONDS * 8), (LEASE_SECONDS, LEASE_SECONDS * 7));
    let heard = ask(Client::renewing(ADDRESS)).expect("answered");
    let seconds = |code| u32::from_be_bytes(heard.option(code).expect("given").try_into().expect("that long"));
    assert_eq!((seconds(58), seconds(59), seconds(51)), (RENEWAL_SECONDS, REBINDING_SECONDS, LEASE_SECONDS));
}
