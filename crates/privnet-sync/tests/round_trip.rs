//! Every message that one side can say arrives as it was said, and none that is malformed arrives at all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{
    Account, AddressRange, DeviceName, DhcpOptions, DhcpSettings, DomainName, Generation, HostFacts, HostId, HostName,
    InstanceId, InstanceState, LocalPort, Location, MacAddr, Member, Name, Netns, NetworkDelta, NetworkId,
    NetworkState, Placement, Power, Reason, Tap, Vni,
};
use privnet_sync::{
    AGENT_MESSAGE_BYTES_MAX, FromAgent, FromServer, HELD_MAX, Hello, InstanceFailure, PortFailure, RunId,
    decode_instances, decode_network_state, encode_instances, encode_network_state, proto,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use prost::Message;

proptest! {
    #[test]
    fn what_the_agent_says_arrives(said in from_agent()) {
        let wire = proto::FromAgent::from(said.clone()).encode_to_vec();
        let heard = proto::FromAgent::decode(&wire[..]).expect("a message");
        prop_assert_eq!(FromAgent::parse(heard).expect("valid"), Some(said));
    }

    #[test]
    fn what_the_server_says_arrives(said in from_server()) {
        let wire = proto::FromServer::from(said.clone()).encode_to_vec();
        let heard = proto::FromServer::decode(&wire[..]).expect("a message");
        prop_assert_eq!(FromServer::parse(heard).expect("valid"), Some(said));
    }

    #[test]
    fn a_kept_copy_is_what_was_kept(state in state()) {
        prop_assert_eq!(decode_network_state(&encode_network_state(&state)).expect("valid"), state);
    }

    #[test]
    fn kept_instances_are_those_that_were_kept(states in vec(instance_state(), 0..4)) {
        prop_assert_eq!(decode_instances(&encode_instances(states.iter())).expect("valid"), states);
    }

    #[test]
    fn any_octets_are_read_or_refused_without_panic(octets in vec(any::<u8>(), 0..200)) {
        let _ = proto::FromAgent::decode(&octets[..]).map(FromAgent::parse);
        let _ = proto::FromServer::decode(&octets[..]).map(FromServer::parse);
        let _ = decode_network_state(&octets);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused_without_panic(said in from_server(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut wire = proto::FromServer::from(said).encode_to_vec();
        if !wire.is_empty() {
            let at = at.index(wire.len());
            wire[at] ^= 1u8 << bit;
            let _ = proto::FromServer::decode(&wire[..]).map(FromServer::parse);
        }
    }
}

#[test]
fn a_kind_that_only_a_newer_peer_knows_is_skipped() {
    // Field 100, one octet.
    let newer = [0xa2, 0x06, 0x01, 0x00];
    let heard = proto::FromServer::decode(&newer[..]).expect("a message");
    assert_eq!(FromServer::parse(heard).expect("valid"), None);
    let heard = proto::FromAgent::decode(&newer[..]).expect("a message");
    assert_eq!(FromAgent::parse(heard).expect("valid"), None);
}

#[test]
fn a_reason_that_only_a_newer_agent_knows_is_a_fault() {
    let failure = proto::PortFailure { mac: vec![0; 6], reason: "sunspots".to_owned(), message: String::new() };
    assert_eq!(PortFailure::try_from(failure).expect("valid").reason, Reason::Fault);
}

#[test]
fn a_malformed_field_is_named() {
    check(|state| state.network.truncate(15), "network has 15 octets instead of 16");
    check(|state| state.vni = 1 << 24, "vni is not valid: 16777216 is not a VNI (1 to 16777215)");
    check(|state| state.members[0].mac.push(0), "mac has 7 octets instead of 6");
    check(|state| state.members[0].location = None, "location is missing");
    check(|state| state.members.push(state.members[0].clone()), "members has 0a:00:00:00:00:01 twice");
    check(
        |state| state.dhcp = Some(proto::DhcpSettings::default()),
        "dhcp is not valid: netmask 0.0.0.0 is not between 128.0.0.0 (/1) and 255.255.255.252 (/30)",
    );
}

#[test]
fn a_hello_holds_no_more_than_it_may() {
    let held = |networks, instances| {
        let network = proto::Held { network: vec![0; 16], generation: u64::MAX };
        let message = proto::Hello {
            host_name: "h".repeat(64),
            vtep: vec![0; 16],
            held: vec![network; networks],
            instances: vec![vec![0; 16]; instances],
            ..proto::Hello::default()
        };
        assert!(message.encoded_len() < AGENT_MESSAGE_BYTES_MAX, "it would be refused for its size");
        Hello::try_from(message).map(drop).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(held(HELD_MAX, HELD_MAX), Ok(()));
    assert_eq!(held(HELD_MAX + 1, 0), Err("held has 65537 entries, and at most 65536 are taken".to_owned()));
    assert_eq!(held(0, HELD_MAX + 1), Err("instances has 65537 entries, and at most 65536 are taken".to_owned()));
}

#[test]
fn a_version_is_short() {
    let told = |octets| {
        let version = "9".repeat(octets);
        let hello = proto::Hello { host_name: "h1".into(), vtep: vec![0; 4], version, ..proto::Hello::default() };
        Hello::try_from(hello).map(|hello| hello.facts.version.len()).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(told(255), Ok(255));
    assert_eq!(told(256), Err("version has 256 octets instead of at most 255".to_owned()));
}

/// They are for people, and written to logs and operations.
#[test]
fn of_endless_sentences_the_beginning_arrives() {
    // Two octets per letter, from the second octet on: none is cut in two.
    let endless = format!("x{}", "é".repeat(100_000));
    let beginning = format!("x{}", "é".repeat(511));
    let (mac, instance, network) =
        (MacAddr::new([0; 6]), InstanceId::from_bytes([1; 16]), NetworkId::from_bytes([2; 16]));
    let said = |message: &String, repairs| {
        let (reason, message) = (Reason::Fault, message.clone());
        [
            FromAgent::InstanceFailed {
                instance,
                serial: 1,
                failure: InstanceFailure { reason, message: message.clone() },
            },
            FromAgent::Applied {
                network,
                generation: Generation(1),
                failures: vec![PortFailure { mac, reason, message: message.clone() }],
            },
            FromAgent::Repaired { network, what: vec![message; repairs] },
        ]
    };
    let heard = said(&endless, 1000).map(|said| FromAgent::parse(said.into()).expect("valid").expect("known"));
    assert_eq!(heard, said(&beginning, 100));
}

fn check(damage: impl FnOnce(&mut proto::NetworkState), expected: &str) {
    let mac = MacAddr::for_port([0, 0, 0, 0, 1]);
    let member = Member { mac, address: None, location: Location::Remote { vtep: IpAddr::from([192, 0, 2, 1]) } };
    let state = NetworkState {
        id: NetworkId::from_bytes([1; 16]),
        vni: Vni::try_from(7).expect("valid"),
        generation: Generation(1),
        mtu_bytes: None,
        dhcp: None,
        members: BTreeMap::from([(mac, member)]),
    };
    let mut message = proto::NetworkState::from(&state);
    damage(&mut message);
    let refusal = NetworkState::try_from(message).expect_err(expected);
    let chain = std::iter::successors(Some(&refusal as &dyn std::error::Error), |e| e.source());
    assert_eq!(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "), expected);
}

fn from_agent() -> impl Strategy<Value = FromAgent> {
    let held = btree_map(network(), generation(), 0..4);
    let instances = btree_set(instance(), 0..4);
    let run = any::<Option<[u8; 16]>>();
    let hello = (any::<u32>(), "[a-z0-9._-]{1,64}", any::<IpAddr>(), any::<u32>(), ".*", held, instances, run)
        .prop_map(|(protocol, host, vtep, underlay_mtu_bytes, version, held, instances, run)| {
            let host = HostName::try_from(host.as_str()).expect("valid");
            let facts = HostFacts { vtep, underlay_mtu_bytes, version };
            FromAgent::Hello(Hello { protocol, host, facts, held, instances, run: run.map(RunId) })
        });
    let reason = || prop::sample::select(&Reason::ALL[..]);
    let instance_failed = (instance(), any::<u64>(), reason(), ".*").prop_map(|(instance, serial, reason, message)| {
        FromAgent::InstanceFailed { instance, serial, failure: InstanceFailure { reason, message } }
    });
    let failure = (mac(), prop::sample::select(&Reason::ALL[..]), ".*")
        .prop_map(|(mac, reason, message)| PortFailure { mac, reason, message });
    let applied = (network(), generation(), vec(failure, 0..3))
        .prop_map(|(network, generation, failures)| FromAgent::Applied { network, generation, failures });
    prop_oneof![
        hello,
        applied,
        (network(), any::<u64>()).prop_map(|(network, removal)| FromAgent::Removed { network, removal }),
        network().prop_map(|network| FromAgent::NeedFull { network }),
        (network(), vec(".*", 0..3)).prop_map(|(network, what)| FromAgent::Repaired { network, what }),
        any::<u32>().prop_map(|bytes| FromAgent::UnderlayMtu { bytes }),
        (instance(), any::<u64>()).prop_map(|(instance, serial)| FromAgent::InstanceMade { instance, serial }),
        instance_failed,
        (instance(), any::<u64>()).prop_map(|(instance, serial)| FromAgent::InstanceRemoved { instance, serial }),
        any::<u64>().prop_map(|serial| FromAgent::Present { serial }),
        (network(), mac(), any::<[u8; 4]>(), any::<u32>()).prop_map(|(network, port, address, times)| {
            FromAgent::AddressDeclined { network, port, address: address.into(), times }
        }),
    ]
}

fn from_server() -> impl Strategy<Value = FromServer> {
    let welcome = (any::<u32>(), any::<[u8; 16]>())
        .prop_map(|(protocol, host)| FromServer::Welcome { protocol, host: HostId::from_bytes(host) });
    prop_oneof![
        welcome,
        state().prop_map(FromServer::Full),
        delta().prop_map(FromServer::Delta),
        (network(), any::<u64>()).prop_map(|(network, removal)| FromServer::Remove { network, removal }),
        Just(FromServer::Current),
        (instance_state(), any::<u64>()).prop_map(|(state, serial)| FromServer::Instance { state, serial }),
        (instance(), any::<u64>()).prop_map(|(instance, serial)| FromServer::RemoveInstance { instance, serial }),
        (".*", any::<u64>()).prop_map(|(who, serial)| FromServer::Rival { who, serial }),
    ]
}

fn instance_state() -> impl Strategy<Value = InstanceState> {
    (instance(), "[a-z0-9]{1,20}")
        .prop_map(|(id, netns)| InstanceState { id, netns: Netns::try_from(netns.as_str()).expect("valid") })
}

fn state() -> impl Strategy<Value = NetworkState> {
    let mtu_bytes = prop::option::of(any::<u32>());
    (network(), 1..=Vni::MAX, generation(), mtu_bytes, prop::option::of(dhcp()), vec(member(), 0..5)).prop_map(
        |(id, vni, generation, mtu_bytes, dhcp, members)| NetworkState {
            id,
            vni: Vni::try_from(vni).expect("valid"),
            generation,
            mtu_bytes,
            dhcp,
            members: members.into_iter().map(|m| (m.mac, m)).collect(),
        },
    )
}

fn delta() -> impl Strategy<Value = NetworkDelta> {
    let generations = (generation(), generation());
    let mtu_bytes = prop::option::of(any::<u32>());
    let removed = btree_set(mac(), 0..4);
    (network(), generations, mtu_bytes, prop::option::of(dhcp()), vec(member(), 0..4), removed).prop_map(
        |(id, (base, generation), mtu_bytes, dhcp, set, removed)| NetworkDelta {
            id,
            base,
            generation,
            mtu_bytes,
            dhcp,
            set,
            removed,
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    let power = prop::sample::select(&[Power::Running, Power::Stopped][..]);
    let local = (instance(), "\\PC{1,20}", "[a-z0-9]{1,15}", placement(), power, any::<(u32, bool)>()).prop_map(
        |(instance, name, device, placement, power, (reboots, is_configured))| {
            Location::Local(LocalPort {
                instance,
                instance_name: Name::try_from(name.as_str()).expect("valid"),
                placement,
                device: DeviceName::try_from(device.as_str()).expect("valid"),
                power,
                reboots,
                is_configured,
            })
        },
    );
    let location = prop_oneof![local, any::<IpAddr>().prop_map(|vtep| Location::Remote { vtep })];
    (mac(), any::<Option<Ipv4Addr>>(), location).prop_map(|(mac, address, location)| Member { mac, address, location })
}

fn placement() -> impl Strategy<Value = Placement> {
    let netns = "[a-z0-9]{1,20}".prop_map(|text| Placement::Netns(Netns::try_from(text.as_str()).expect("valid")));
    let account =
        || prop::option::of("[a-z0-9]{1,9}".prop_map(|text| Account::try_from(text.as_str()).expect("valid")));
    let tap = (account(), account(), any::<bool>())
        .prop_map(|(owner, group, is_multi_queue)| Placement::Tap(Tap { owner, group, is_multi_queue }));
    prop_oneof![netns, tap]
}

fn dhcp() -> impl Strategy<Value = DhcpSettings> {
    let names = vec("[a-z]{1,9}\\.[a-z]{1,9}", 0..4);
    (1..100u8, 100..200u8, vec(any::<Ipv4Addr>(), 0..3), vec(any::<Ipv4Addr>(), 0..3), names).prop_map(
        |(start, end, routers, servers, names)| {
            let at = |last| Ipv4Addr::new(10, 0, 0, last);
            let names = names.iter().map(|n| DomainName::try_from(n.as_str()).expect("valid")).collect();
            DhcpSettings {
                range: AddressRange::new(at(start), at(end), Ipv4Addr::new(255, 255, 255, 0)).expect("valid"),
                options: DhcpOptions::new(routers, servers.clone(), servers, names).expect("valid"),
            }
        },
    )
}

fn instance() -> impl Strategy<Value = InstanceId> {
    any::<[u8; 16]>().prop_map(InstanceId::from_bytes)
}

fn network() -> impl Strategy<Value = NetworkId> {
    any::<[u8; 16]>().prop_map(NetworkId::from_bytes)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<u64>().prop_map(Generation)
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr::new)
}
