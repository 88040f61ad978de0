//! What holds whatever a tenant sends.

use std::net::Ipv4Addr;

use privnet_dhcp::{PortFacts, answer};
use privnet_model::{DhcpOptions, DhcpSettings, DomainName};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::client::with_right_checksums;
use crate::support::*;

/// Mostly addresses that mean something here, so that many requests are answered.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => prop::sample::select(vec![NOBODY, ADDRESS, WRONG, ELSEWHERE, SERVER]),
        1 => any::<[u8; 4]>().prop_map(Ipv4Addr::from),
    ]
}

fn option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let known = prop_oneof![
        address().prop_map(|a| (50, a.octets().to_vec())),
        address().prop_map(|a| (54, a.octets().to_vec())),
        vec(any::<u8>(), 0..20).prop_map(|codes| (55, codes)),
        any::<u16>().prop_map(|size| (57, size.to_be_bytes().to_vec())),
        vec(any::<u8>(), 2..=255).prop_map(|identifier| (61, identifier)),
    ];
    prop_oneof![6 => known, 1 => (1..255u8, vec(any::<u8>(), 0..=255))]
}

/// What stands in a field that may hold options: options, as far as they fit, or anything.
fn field(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    let options = vec(option(), 0..4).prop_map(move |options| {
        let encoded = |(code, value): (u8, Vec<u8>)| [&[code, value.len() as u8][..], &value].concat();
        let mut field: Vec<u8> = options.into_iter().flat_map(encoded).collect();
        field.truncate(bytes);
        field
    });
    prop_oneof![4 => options, 1 => vec(any::<u8>(), 0..=bytes)]
}

fn client() -> impl Strategy<Value = Client> {
    let fields = (address(), address(), any::<u16>(), any::<u32>());
    let overload = prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(|fields| Some(fields % 5))];
    let areas = (vec(option(), 0..4), overload, field(128), field(64));
    (1..9u8, fields, areas, any::<bool>()).prop_map(
        |(kind, (source, ciaddr, flags, xid), (options, overload, file, sname), to_the_server)| {
            let (destination_mac, destination) =
                if to_the_server { (SERVER_MAC, SERVER) } else { (EVERYBODY_MAC, EVERYBODY) };
            let fields = Client { source, ciaddr, flags, xid, file, sname, ..Client::new(kind) };
            let overload = overload.map(|fields| (52, vec![fields]));
            let options = options.into_iter().chain(overload);
            let client = Client { destination_mac, destination, ..fields };
            options.fold(client, |client, (code, value)| client.option(code, &value))
        },
    )
}

fn network() -> impl Strategy<Value = DhcpSettings> {
    let addresses = || vec(any::<[u8; 4]>().prop_map(Ipv4Addr::from), 0..64);
    let domain = "[a-z0-9_]([a-z0-9-]{0,10}[a-z0-9_])?(\\.(example|net|[A-Za-z]{1,3})){0,3}"
        .prop_map(|name| DomainName::try_from(name.as_str()).expect("valid"));
    (addresses(), addresses(), addresses(), vec(domain, 0..9)).prop_map(|(routers, dns, ntp, search)| {
        with_options(DhcpOptions::new(routers, dns, ntp, search).unwrap_or_default())
    })
}

/// Any MTU, mostly one that an overlay can have.
fn mtu() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 300..1600u32, 1 => any::<u32>()]
}

/// The most that the client says anywhere, in whichever field.
fn size_max_bytes(client: &Client) -> usize {
    let message = client.message();
    let said = message.windows(4).filter(|option| option[..2] == [57, 2]);
    said.map(|option| u16::from_be_bytes([option[2], option[3]])).max().unwrap_or(0).max(576).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_octets_get_no_reply(frame in vec(any::<u8>(), 0..2000)) {
        prop_assert!(answer(&frame, &facts(&settings())).is_err());
    }

    #[test]
    fn an_arbitrary_message_in_a_good_frame_is_answered_well_or_not_at_all(
        message in vec(any::<u8>(), 0..1400), options in vec(any::<u8>(), 0..300),
    ) {
        let client = Client::discover();
        for message in [message, [client.message()[..240].to_vec(), options].concat()] {
            if let Ok(heard) = ask_frame(&client.frame_of(&message)) {
                prop_assert!([NOBODY, ADDRESS].contains(&heard.yiaddr()));
            }
        }
    }

    #[test]
    fn a_request_with_some_octets_changed_is_answered_well_or_not_at_all(
        client in client(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = client.frame();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Ok(heard) = ask_frame(&with_right_checksums(frame)) {
            prop_assert!([NOBODY, ADDRESS].contains(&heard.yiaddr()));
        }
    }

    /// `Heard` verifies lengths and checksums.
    #[test]
    fn every_reply_is_whole_and_names_no_address_but_the_ports(
        client in client(), network in network(), overlay_mtu_bytes in mtu(), has_lease in any::<bool>(),
    ) {
        let lease = has_lease.then_some(ADDRESS);
        let facts = PortFacts { address: lease, overlay_mtu_bytes, ..facts(&network) };
        if let Ok(reply) = answer(&client.frame(), &facts) {
            prop_assert!(reply.frame.len() as u64 <= 14 + u64::from(overlay_mtu_bytes));
            let heard = Heard::new(&reply);
            prop_assert!(heard.packet_bytes <= size_max_bytes(&client));
            prop_assert!(heard.message.len() >= 300);

            let message = heard.decoded();
            let codes: std::collections::BTreeSet<_> = heard.codes().into_iter().collect();
            let read = message.opts().iter().count();
            prop_assert_eq!(read, heard.options_in_their_field(), "somebody else reads all options");
            prop_assert_eq!(codes.len(), heard.options.len(), "each once");
            prop_assert_eq!((message.xid(), message.chaddr()), (client.xid, &PORT.octets()[..]));

            prop_assert!(heard.yiaddr() == NOBODY || Some(heard.yiaddr()) == lease);
            prop_assert!([NOBODY, client.ciaddr].contains(&heard.ciaddr()));
            // To the client alone, where it is or will be, or to everybody behind its port.
            let to_everybody = (EVERYBODY_MAC.octets(), EVERYBODY);
            let to_the_client = |address: Ipv4Addr| (PORT.octets(), address);
            let mut destinations = vec![to_everybody, to_the_client(client.ciaddr)];
            destinations.extend(lease.map(to_the_client));
            prop_assert!(destinations.contains(&(heard.destination_mac, heard.destination)));
            prop_assert_ne!(heard.destination, NOBODY);
        }
    }

    #[test]
    fn every_search_list_can_be_read_again(network in network()) {
        let heard = ask_in(&network, Client::discover().asking(&[119]));
        let names: Vec<_> = network.options.domain_search().iter().map(ToString::to_string).collect();
        let read = heard.option(119).map(crate::rfc3397::read).unwrap_or_default();
        prop_assert_eq!(read, names);
    }
}
