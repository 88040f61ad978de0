//! "Reacquisition and expiration"

use privnet_dhcp::{LEASE_SECONDS, PortFacts, REBINDING_SECONDS, RENEWAL_SECONDS, SPREAD_SECONDS, answer};
use privnet_model::MacAddr;

use crate::support::*;

/// What the port is told: T1, T2 and the lease's time.
fn times(mac: MacAddr) -> [u32; 3] {
    let settings = settings();
    let client = Client { source_mac: mac, chaddr: mac, ..Client::renewing(ADDRESS) };
    let reply = answer(&client.frame(), &PortFacts { mac, ..facts(&settings) }).expect("answered");
    let heard = Heard::new(&reply);
    [58, 59, 51].map(|code| u32::from_be_bytes(heard.option(code).expect("given").try_into().expect("that long")))
}

#[test]
fn t1_is_half_the_lease_and_t2_seven_eighths_of_it_less_the_same_part_of_a_spread() {
    assert_eq!((RENEWAL_SECONDS * 2, REBINDING_SECONDS * 8), (LEASE_SECONDS, LEASE_SECONDS * 7));
    for part in 0..SPREAD_SECONDS {
        let [.., a, b] = part.to_be_bytes();
        let mac = MacAddr::for_port([0xff, 0xff, 0, a, b]);
        assert_eq!(times(mac), [RENEWAL_SECONDS - part, REBINDING_SECONDS - part, LEASE_SECONDS]);
    }
}

/// "Times T1 and T2 SHOULD be chosen with some random 'fuzz' around a fixed value, to avoid synchronization of client
/// reacquisition."
#[test]
fn a_thousand_ports_do_not_renew_in_the_same_moment() {
    let mut clients = vec![0; SPREAD_SECONDS as usize];
    for number in 0..1000u32 {
        // Spread as random ones are.
        let [_, octets @ ..] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let mac = MacAddr::for_port([0, 0, octets[0], octets[1], octets[2]]);
        clients[(RENEWAL_SECONDS - times(mac)[0]) as usize] += 1;
    }
    assert!(clients.iter().all(|count| *count < 30), "{clients:?}");
}

#[test]
fn a_port_is_told_the_same_times_again() {
    assert_eq!(times(PORT), times(PORT));
}
