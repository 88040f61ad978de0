//! Records come back as they were.

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::zone::Snapshot;
use privnet_model::{
    Account, AddressRange, Applied, Carriage, DeviceName, DhcpOptions, DomainName, Driver, Fingerprint, Generation,
    Host, HostCertificate, HostCertificates, HostFacts, HostId, Instance, InstanceId, InstanceProperties,
    InstanceTypeId, Invitation, InvitationId, Key, KeyId, Labels, Lease, LeaseKind, MacAddr, Netns, Network, NetworkId,
    Operation, OperationId, OperationKind, OperationState, Organization, OrganizationId, Placement, Port, Power,
    PublicIp, Quota, Quotas, Reason, RequestId, Role, Scope, SealedSecret, SignedRequest, SshKey, Subject, Tap,
    TemplateId, Timestamp, UserData, Vni, Wait, WaitPort,
};
use privnet_store::Store as _;

use super::{Database, holding, insert, load, remove, replace};

pub fn a_new_database_holds_nothing<D: Database>() {
    assert_eq!(load(&mut D::new().open()), Snapshot::default());
}

pub fn each_kind_of_record_comes_back_with_all_that_it_can_have<D: Database>() {
    let mut full = network(1);
    full.name = "ein \"Netz\" mit ' und é".try_into().expect("valid");
    full.description = "für's Büro".try_into().expect("valid");
    full.range = Some(range());
    full.options = DhcpOptions::new(
        vec![ip(1), ip(2)],
        vec![ip(3)],
        vec![ip(4), ip(5), ip(6)],
        vec![domain("a.example.net"), domain("b.example.net")],
    )
    .expect("valid");
    full.labels = Labels::from([("k".into(), "v".into()), (String::new(), "\u{0}\n\"é".into())]);
    full.last_address = Some(ip(77));
    let mut host = host(1);
    host.facts.vtep = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0xabc]);
    host.certificates = HostCertificates { current: Some(certificate(1)), next: Some(certificate(2)) };
    let instance = Instance {
        placement: netns("/proc/1/ns/net"),
        driver: Driver::Netns,
        power: Power::Stopped,
        reboots: u32::MAX,
        is_protected: true,
        properties: InstanceProperties {
            instance_type: InstanceTypeId::built_in(7),
            template: TemplateId::built_in(9),
            disk_size_gib: 51_200,
            public_ip: PublicIp::Dual,
            ssh_keys: vec!["one".try_into().expect("valid"), "two \"é".try_into().expect("valid")],
            user_data: Some(UserData::new("I2Nsb3VkLWNvbmZpZwo=")),
            labels: Labels::from([("k".into(), "v".into())]),
            has_secure_boot: true,
            has_tpm: true,
        },
        ..instance(1, &host)
    };
    let leased = |number, address, kind| Port { lease: Some(Lease { address, kind }), ..port(&full, number) };
    let ports = vec![leased(1, ip(50), LeaseKind::Dynamic)];
    let admin = Scope::Organization(organization(1).id, Role::Admin);
    let mut snapshot = Snapshot {
        organizations: vec![organization(1)],
        keys: vec![
            Key { expires_at: Some(Timestamp::from_unix_ms(1_790_000_060_000)), scope: admin, ..key(1) },
            Key { scope: Scope::Organization(organization(1).id, Role::Runtime(host.id)), ..key(2) },
        ],
        networks: vec![full.clone()],
        instances: vec![instance],
        ports,
        hosts: vec![host.clone()],
        operations: operations(&full, &host),
        carriages: vec![carriage(&host, &full)],
        ssh_keys: vec![ssh_key()],
        invitations: vec![Invitation { is_rejoin: true, used_by: Some(fingerprint(4)), ..invitation(1) }],
    };
    comes_back::<D>(&snapshot);
    snapshot.ports = vec![leased(1, Ipv4Addr::new(255, 255, 255, 255), LeaseKind::Static)];
    comes_back::<D>(&snapshot);
    for placement in [tap(Some("libvirt-qemu"), Some("0"), true), tap(None, None, false)] {
        snapshot.instances[0].placement = placement;
        comes_back::<D>(&snapshot);
    }
}

pub fn each_kind_of_record_comes_back_with_as_little_as_it_can_have<D: Database>() {
    let (network, host) = (network(1), host(1));
    comes_back::<D>(&Snapshot {
        organizations: vec![Organization { quotas: Quotas::UNLIMITED, ..organization(1) }],
        keys: vec![key(1)],
        networks: vec![network.clone()],
        instances: vec![instance(1, &host)],
        ports: vec![port(&network, 1)],
        hosts: vec![host.clone()],
        operations: vec![operation(1, &network, OperationState::Success)],
        carriages: vec![carriage(&host, &network)],
        ssh_keys: Vec::new(),
        invitations: vec![invitation(1)],
    });
}

pub fn records_come_in_the_order_of_their_keys<D: Database>() {
    let (networks, hosts) = ([network(1), network(2), network(3)], [host(1), host(2)]);
    let ports = |network: &Network| [port(network, 1), Port { mac: mac(100 + number(network)), ..port(network, 2) }];
    let snapshot = Snapshot {
        organizations: vec![organization(1), organization(2)],
        keys: vec![key(1), key(2)],
        instances: vec![instance(1, &hosts[1]), instance(2, &hosts[0])],
        ports: networks.iter().flat_map(|network| ports(network).map(|port| port_of_its_own(network, port))).collect(),
        operations: networks
            .iter()
            .map(|network| operation(number(network), network, OperationState::Success))
            .collect(),
        carriages: hosts.iter().flat_map(|host| networks.iter().map(|network| carriage(host, network))).collect(),
        networks: networks.to_vec(),
        hosts: hosts.to_vec(),
        ssh_keys: Vec::new(),
        invitations: vec![invitation(1), invitation(2)],
    };
    comes_back::<D>(&snapshot);
}

pub fn a_record_can_be_replaced_and_removed<D: Database>() {
    let (network, host) = (network(1), host(1));
    let (instance, port) = (instance(1, &host), port(&network, 1));
    let pending = operations(&network, &host).swap_remove(0);
    let carriage = carriage(&host, &network);
    let (renewed, expiring, invited) = (organization(2), key(1), invitation(1));
    let records = [
        insert(&renewed),
        insert(&expiring),
        insert(&network),
        insert(&host),
        insert(&instance),
        insert(&port),
        insert(&pending),
        insert(&carriage),
        insert(&invited),
    ];
    let (_database, mut store) = holding::<D>(&records);

    let managed = Network { range: Some(range()), generation: Generation(2), ..network.clone() };
    let mut moved = host.clone();
    moved.certificates = HostCertificates { current: Some(certificate(1)), next: None };
    moved.facts = HostFacts { vtep: IpAddr::from([192, 0, 2, 200]), underlay_mtu_bytes: 9000, version: "2".into() };
    let leased =
        Port { lease: Some(Lease { address: ip(9), kind: LeaseKind::Static }), changed: Generation(2), ..port.clone() };
    let done = Operation { state: OperationState::Success, ..pending.clone() };
    let other = self::host(2);
    let elsewhere = Instance { host: other.id, placement: netns("/run/netns/other"), ..instance.clone() };
    let richer = Organization { quotas: Quotas { networks: Quota::AtMost(7), ..renewed.quotas }, ..renewed.clone() };
    let expired = Key { expires_at: Some(Timestamp::from_unix_ms(0)), ..expiring.clone() };
    let used = Invitation { used_by: Some(fingerprint(2)), ..invited.clone() };
    let changes = [
        replace(&renewed, &richer),
        replace(&expiring, &expired),
        replace(&network, &managed),
        replace(&host, &moved),
        insert(&other),
        replace(&instance, &elsewhere),
        replace(&port, &leased),
        replace(&pending, &done),
        replace(&invited, &used),
    ];
    store.commit(&changes).expect("commits");
    let replaced = Snapshot {
        organizations: vec![organization(1), richer.clone()],
        keys: vec![expired.clone()],
        networks: vec![managed.clone()],
        instances: vec![elsewhere.clone()],
        ports: vec![leased.clone()],
        hosts: vec![moved.clone(), other.clone()],
        operations: vec![done.clone()],
        carriages: vec![carriage],
        ssh_keys: Vec::new(),
        invitations: vec![used.clone()],
    };
    assert_eq!(load(&mut store), replaced);

    let changes = [
        remove(&leased),
        remove(&managed),
        remove(&elsewhere),
        remove(&carriage),
        remove(&moved),
        remove(&other),
        remove(&done),
        remove(&expired),
        remove(&richer),
        remove(&used),
        remove(&organization(1)),
    ];
    store.commit(&changes).expect("commits");
    assert_eq!(load(&mut store), Snapshot::default());
}

pub fn the_largest_numbers_come_back<D: Database>() {
    let mut network = network(1);
    network.vni = Vni::try_from(Vni::MAX).expect("valid");
    network.generation = Generation(u64::MAX);
    network.created_at = Timestamp::from_unix_ms(u64::MAX);
    let mut host = host(1);
    host.facts.underlay_mtu_bytes = u32::MAX;
    let mut port = port(&network, 1);
    port.mac = MacAddr::new([0xff; 6]);
    port.changed = Generation(u64::MAX);
    let deadline = Timestamp::from_unix_ms(u64::MAX);
    let wait = Wait::Applied(Applied { network: network.id, generation: Generation(u64::MAX), port: None });
    let quotas = Quotas { networks: Quota::AtMost(u32::MAX), ..Quotas::default() };
    comes_back::<D>(&Snapshot {
        organizations: vec![Organization { quotas, ..organization(1) }],
        keys: vec![Key { expires_at: Some(deadline), ..key(1) }],
        instances: vec![instance(1, &host)],
        ports: vec![port],
        operations: vec![operation(1, &network, OperationState::Pending { wait, deadline })],
        hosts: vec![host],
        networks: vec![network],
        carriages: vec![],
        ssh_keys: Vec::new(),
        invitations: Vec::new(),
    });
}

/// Commits the records, the last ones first, and reads them again in a store opened anew.
fn comes_back<D: Database>(snapshot: &Snapshot) {
    let changes: Vec<_> = (snapshot.organizations.iter().map(insert))
        .chain(snapshot.keys.iter().map(insert))
        .chain(snapshot.networks.iter().map(insert))
        .chain(snapshot.instances.iter().map(insert))
        .chain(snapshot.ports.iter().map(insert))
        .chain(snapshot.hosts.iter().map(insert))
        .chain(snapshot.operations.iter().map(insert))
        .chain(snapshot.carriages.iter().map(insert))
        .chain(snapshot.ssh_keys.iter().map(insert))
        .chain(snapshot.invitations.iter().map(insert))
        .rev()
        .collect();
    let database = D::new();
    database.open().commit(&changes).expect("the records fit");
    assert_eq!(&load(&mut database.open()), snapshot);
}

/// An operation in each state.
fn operations(network: &Network, host: &Host) -> Vec<Operation> {
    let port = Some(WaitPort { host: host.id, mac: mac(1) });
    let applied = |port| Wait::Applied(Applied { network: network.id, generation: Generation(7), port });
    let deadline = Timestamp::from_unix_ms(1_790_000_060_000);
    let failures = Reason::ALL.map(|reason| OperationState::Failure { reason, message: "it's \"so\"".into() });
    let states = [
        OperationState::Pending { wait: applied(port), deadline },
        OperationState::Pending { wait: applied(None), deadline },
        OperationState::Success,
        OperationState::Timeout { message: String::new() },
    ];
    let kinds = OperationKind::ALL.into_iter().cycle();
    let about_network = states.iter().cloned().chain(failures).zip(kinds);
    let about_network = about_network.map(|(state, kind)| (kind, Subject::Network(network.id), state));
    let instance = InstanceId::from_bytes(octets(1));
    let moving = OperationState::Pending { wait: Wait::Placed(instance), deadline };
    let removal = OperationState::Pending { wait: Wait::Removed { instance, host: host.id }, deadline };
    let about_instance = [moving, removal, OperationState::Success];
    let about_instance = about_instance.map(|state| (OperationKind::Move, Subject::Instance(instance), state));
    let about_nothing = [(OperationKind::RegisterSshKey, Subject::Nothing, OperationState::Success)];
    let all = (1..).zip(about_network.chain(about_instance).chain(about_nothing));
    let request = |n: u8| {
        let request = SignedRequest { id: RequestId::from_bytes(octets(n)), at: deadline };
        n.is_multiple_of(2).then_some(request)
    };
    let operation =
        |(n, (kind, subject, state))| Operation { kind, subject, request: request(n), ..operation(n, network, state) };
    all.map(operation).collect()
}

/// The port with the device and MAC address of its network's number, so that ports of several
/// networks go together.
fn port_of_its_own(network: &Network, port: Port) -> Port {
    let [.., instance] = *port.instance.as_bytes();
    let device = DeviceName::of_port(usize::from(number(network)));
    Port { device, mac: mac(10 * number(network) + instance), ..port }
}

fn number(network: &Network) -> u8 {
    network.id.as_bytes()[15]
}

pub fn organization(number: u8) -> Organization {
    Organization {
        id: OrganizationId::from_bytes(octets(number)),
        name: format!("organization-{number}").as_str().try_into().expect("valid"),
        quotas: Quotas::default(),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
    }
}

/// An operator's.
pub fn key(number: u8) -> Key {
    Key {
        id: KeyId::from_bytes([number; KeyId::OCTETS]),
        name: "key".try_into().expect("valid"),
        scope: Scope::Operator,
        sealed_secret: SealedSecret::new([0, 0xff, number]),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
        expires_at: None,
    }
}

/// Of organization 1, as are instances and operations.
pub fn network(number: u8) -> Network {
    Network {
        id: NetworkId::from_bytes(octets(number)),
        organization: organization(1).id,
        name: "network".try_into().expect("valid"),
        description: "".try_into().expect("valid"),
        range: None,
        options: DhcpOptions::default(),
        labels: Labels::new(),
        vni: Vni::try_from(u32::from(number)).expect("valid"),
        generation: Generation::FIRST,
        last_address: None,
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
    }
}

pub fn host(number: u8) -> Host {
    Host {
        id: HostId::from_bytes(octets(number)),
        name: format!("host-{number}").as_str().try_into().expect("valid"),
        facts: HostFacts {
            vtep: IpAddr::from([192, 0, 2, number]),
            underlay_mtu_bytes: 1500,
            version: "0.1.0".to_owned(),
        },
        certificates: HostCertificates::default(),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
    }
}

pub fn certificate(number: u8) -> HostCertificate {
    HostCertificate { fingerprint: fingerprint(number), expires_at: Timestamp::from_unix_ms(1_790_000_000_000) }
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; Fingerprint::OCTETS])
}

pub fn invitation(number: u8) -> Invitation {
    Invitation {
        id: InvitationId::from_bytes(octets(number)),
        host: "h1".try_into().expect("valid"),
        token: fingerprint(number),
        is_rejoin: false,
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
        expires_at: Timestamp::from_unix_ms(1_790_003_600_000),
        used_by: None,
    }
}

pub fn instance(number: u8, host: &Host) -> Instance {
    Instance {
        id: InstanceId::from_bytes(octets(number)),
        organization: organization(1).id,
        name: "instance".try_into().expect("valid"),
        host: host.id,
        placement: netns("web1"),
        driver: Driver::External,
        power: Power::Running,
        reboots: 0,
        is_protected: false,
        properties: InstanceProperties::unknown(),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
    }
}

pub fn ssh_key() -> SshKey {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody";
    SshKey {
        organization: organization(1).id,
        name: "é \"'".try_into().expect("valid"),
        public_key: line.try_into().expect("valid"),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
    }
}

/// The port of instance `number`.
pub fn port(network: &Network, number: u8) -> Port {
    Port {
        network: network.id,
        instance: InstanceId::from_bytes(octets(number)),
        mac: mac(number),
        lease: None,
        device: DeviceName::of_port(0),
        is_configured: false,
        changed: Generation::FIRST,
    }
}

pub fn operation(number: u8, network: &Network, state: OperationState) -> Operation {
    Operation {
        id: OperationId::from_bytes(octets(number)),
        organization: organization(1).id,
        kind: OperationKind::CreateNetwork,
        subject: Subject::Network(network.id),
        created_at: Timestamp::from_unix_ms(1_790_000_000_000),
        request: None,
        state,
    }
}

pub fn carriage(host: &Host, network: &Network) -> Carriage {
    Carriage { host: host.id, network: network.id, vni: network.vni }
}

pub fn mac(last: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 0, last])
}

pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn octets(last: u8) -> [u8; 16] {
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn range() -> AddressRange {
    AddressRange::new(ip(50), ip(250), Ipv4Addr::new(255, 255, 255, 0)).expect("valid")
}

fn tap(owner: Option<&str>, group: Option<&str>, is_multi_queue: bool) -> Placement {
    let account = |text| Account::try_from(text).expect("valid");
    Placement::Tap(Tap { owner: owner.map(account), group: group.map(account), is_multi_queue })
}

fn netns(text: &str) -> Placement {
    Placement::Netns(Netns::try_from(text).expect("valid"))
}

fn domain(text: &str) -> DomainName {
    DomainName::try_from(text).expect("valid")
}
