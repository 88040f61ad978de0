//! "DHCPREQUEST generated during REBINDING state"

use super::*;

#[test]
fn the_right_address_is_acknowledged() {
    is_acknowledged(Client::rebinding(ADDRESS));
}

/// "The DHCP server SHOULD check 'ciaddr' for correctness before replying". Nobody else serves the network, so what
/// is wrong here is wrong everywhere.
#[test]
fn a_wrong_address_is_refused() {
    is_refused(Client::rebinding(WRONG));
    is_refused(Client::rebinding(ELSEWHERE));
}
