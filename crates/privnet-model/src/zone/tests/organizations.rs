//! Organizations, their quotas and their keys.

use super::super::{
    CreateKey, Grant, KEYS_PER_ORGANIZATION_MAX, LaunchInstance, RefusalKind, SSH_KEYS_PER_ORGANIZATION_MAX,
    UpdateOrganization,
};
use super::refusals::check;
use super::*;
use crate::{
    Driver, InstanceProperties, Key, KeyId, Organization, OrganizationId, OrganizationName, Power, Quota, Quotas, Role,
    Scope, SealedSecret,
};

const UNKNOWN: OrganizationId = OrganizationId::MAX;

fn organization_name(text: &str) -> OrganizationName {
    OrganizationName::try_from(text).expect("valid")
}

fn create(name: &str) -> Command {
    Command::CreateOrganization { name: organization_name(name), quotas: Quotas::default() }
}

fn rename(id: OrganizationId, name: &str) -> Command {
    Command::UpdateOrganization(id, UpdateOrganization { name: Some(organization_name(name)), ..Default::default() })
}

fn organization(world: &mut World, command: &Command) -> Arc<Organization> {
    match world.run(command) {
        Outcome::Organization(organization) => organization,
        other => panic!("no organization: {other:?}"),
    }
}

fn member(organization: OrganizationId, role: Role) -> Caller {
    Caller::Client { key: None, scope: Scope::Organization(organization, role) }
}

fn create_key(number: u16, grant: Grant, lifetime: Option<Duration>) -> Command {
    let mut id = [0; KeyId::OCTETS];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let wish = CreateKey { name: name("deploy"), grant, lifetime };
    Command::CreateKey { id: KeyId::from_bytes(id), sealed_secret: SealedSecret::new([1, 2, 3]), wish }
}

fn key(world: &mut World, command: &Command) -> Arc<Key> {
    match world.run(command) {
        Outcome::Key(key) => key,
        other => panic!("no key: {other:?}"),
    }
}

#[test]
fn an_organization_has_a_name_of_its_own() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme"));
    assert_eq!((acme.name.as_str(), acme.quotas, acme.created_at), ("acme", Quotas::default(), NOW));
    let message = "there is an organization acme already";
    check(&mut world, &create("acme"), RefusalKind::Conflict, message);
    check(&mut world, &rename(OrganizationId::DEFAULT, "acme"), RefusalKind::Conflict, message);
    assert_eq!(organization(&mut world, &rename(acme.id, "acme")), acme, "its own name is no other's");
    assert_eq!(organization(&mut world, &rename(acme.id, "acme-2")).name.as_str(), "acme-2");
    organization(&mut world, &create("acme"));
}

#[test]
fn an_organization_that_is_not_there_is_not_found() {
    let mut world = World::default();
    world.host(1);
    let placement = Placement::Netns(Netns::try_from("web1").expect("valid"));
    let commands = [
        rename(UNKNOWN, "acme"),
        Command::DeleteOrganization(UNKNOWN),
        create_key(1, Grant::Organization(Some(UNKNOWN), Role::Admin), None),
        Command::CreateInstance {
            name: name("w"),
            host: host_name(1),
            placement,
            organization: Some(UNKNOWN),
            labels: Labels::new(),
        },
    ];
    for command in commands {
        let message = "organization ffffffff-ffff-ffff-ffff-ffffffffffff not found";
        check(&mut world, &command, RefusalKind::NotFound, message);
    }
}

#[test]
fn quotas_that_are_not_given_stay() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme"));
    let wish = UpdateOrganization { instances: Some(Quota::Unlimited), ..Default::default() };
    let richer = organization(&mut world, &Command::UpdateOrganization(acme.id, wish));
    assert_eq!(richer.quotas, Quotas { instances: Quota::Unlimited, ..acme.quotas });
    let wish = UpdateOrganization { networks: Some(Quota::AtMost(1)), ..Default::default() };
    let poorer = organization(&mut world, &Command::UpdateOrganization(acme.id, wish));
    assert_eq!(poorer.quotas, Quotas { networks: Quota::AtMost(1), ..richer.quotas });
}

#[test]
fn an_organization_that_has_something_is_not_deleted() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    key(&mut world, &create_key(1, Grant::Organization(Some(acme), Role::Admin), None));
    let Command::CreateInstance { name, host, placement, .. } = create_instance(1) else { panic!("another command") };
    world.host(1);
    let Outcome::Instance(instance) =
        world.run(&Command::CreateInstance { name, host, placement, organization: Some(acme), labels: Labels::new() })
    else {
        panic!("no instance")
    };
    assert_eq!(instance.organization, acme);
    world.caller = member(acme, Role::Admin);
    let networks = [world.unmanaged(), world.unmanaged()];
    world.caller = Caller::OPERATOR;
    let message = "organization acme has 2 private networks and 1 instance; delete them first";
    check(&mut world, &Command::DeleteOrganization(acme), RefusalKind::Conflict, message);
    world.run(&Command::DeleteInstance(instance.id));
    let message = "organization acme has 2 private networks and 0 instances; delete them first";
    check(&mut world, &Command::DeleteOrganization(acme), RefusalKind::Conflict, message);

    world.caller = member(acme, Role::Admin);
    for network in networks {
        world.run(&Command::DeleteNetwork(network));
    }
    world.caller = Caller::OPERATOR;
    world.run(&Command::DeleteOrganization(acme));
    assert_eq!((world.zone.organization(acme), world.zone.keys().len()), (None, 0), "its keys go with it");
}

#[test]
fn the_organization_of_operators_stays() {
    let message = "organization default stays: it is the one within which operators act";
    let delete = Command::DeleteOrganization(OrganizationId::DEFAULT);
    check(&mut World::default(), &delete, RefusalKind::Conflict, message);
}

#[test]
fn nothing_comes_beyond_a_quota() {
    let mut world = World::default();
    let (network, attached) = (world.managed(50, 99), world.instance());
    world.attach(network, attached);
    let next = world.instance();
    let one = Some(Quota::AtMost(1));
    let wish = UpdateOrganization { name: None, networks: one, ports_per_network: one, instances: one };
    world.run(&Command::UpdateOrganization(OrganizationId::DEFAULT, wish));
    let cases = [
        (create_network(RangeFields::default()), "the organization may have 1 private network, and has 1"),
        (create_instance(1), "the organization may have 1 instance, and has 2"),
        (attach(network, next), "the private network may have 1 attached instance, and has 1"),
    ];
    for (command, excess) in cases {
        let message = format!("quota exceeded: {excess}; make room, or ask an operator for more");
        check(&mut world, &command, RefusalKind::Conflict, &message);
    }
    world.attach(network, attached);
    world.detach(network, attached);
    world.attach(network, next);
}

#[test]
fn one_organizations_quota_is_not_used_up_by_another() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    let wish = UpdateOrganization { networks: Some(Quota::AtMost(1)), ..Default::default() };
    world.run(&Command::UpdateOrganization(acme, wish));
    world.unmanaged();
    world.unmanaged();
    world.caller = member(acme, Role::Admin);
    world.unmanaged();
    assert!(matches!(world.refused(&create_network(RangeFields::default())), Refusal::QuotaExceeded { .. }));
}

#[test]
fn a_key_is_made_as_it_was_asked_for() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    let minute = Some(Duration::from_secs(60));
    let cases = [
        (Caller::OPERATOR, Grant::Operator, Scope::Operator),
        (Caller::OPERATOR, Grant::Organization(Some(acme), Role::Admin), Scope::Organization(acme, Role::Admin)),
        (
            Caller::OPERATOR,
            Grant::Organization(None, Role::ReadOnly),
            Scope::Organization(OrganizationId::DEFAULT, Role::ReadOnly),
        ),
        (member(acme, Role::Admin), Grant::Organization(None, Role::Admin), Scope::Organization(acme, Role::Admin)),
        (
            member(acme, Role::Admin),
            Grant::Organization(Some(acme), Role::ReadOnly),
            Scope::Organization(acme, Role::ReadOnly),
        ),
    ];
    for (number, (caller, grant, scope)) in (1..).zip(cases) {
        world.caller = caller;
        let made = key(&mut world, &create_key(number, grant, minute));
        assert_eq!((made.scope, made.expires_at), (scope, Some(NOW.plus(Duration::from_secs(60)))));
        assert_eq!((made.name.as_str(), made.sealed_secret.as_bytes()), ("deploy", &[1, 2, 3][..]));
        assert_eq!(key(&mut world, &create_key(100 + number, grant, None)).expires_at, None);
    }
}

#[test]
fn no_key_makes_one_that_is_good_for_more() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    world.caller = member(acme, Role::Admin);
    assert_eq!(world.refused(&create_key(1, Grant::Operator, None)), Refusal::NotOperator);
    let default = OrganizationId::DEFAULT;
    let elsewhere = Grant::Organization(Some(default), Role::ReadOnly);
    assert_eq!(world.refused(&create_key(1, elsewhere, None)), Refusal::OrganizationNotFound(default));
    world.caller = member(acme, Role::ReadOnly);
    let own = Grant::Organization(None, Role::ReadOnly);
    assert_eq!(world.refused(&create_key(1, own, None)), Refusal::ReadOnly);
}

/// Whoever asks with this key.
fn holder(key: &Key) -> Caller {
    Caller::Client { key: Some(key.id), scope: key.scope }
}

#[test]
fn no_key_makes_one_that_is_good_for_longer() {
    let seconds = Duration::from_secs;
    for (own, asked, given) in [
        (Some(60), None, Some(60)),
        (Some(60), Some(61), Some(60)),
        (Some(60), Some(59), Some(59)),
        (None, Some(61), Some(61)),
        (None, None, None),
    ] {
        for grant in [Grant::Operator, Grant::Organization(None, Role::Admin)] {
            let mut world = World::default();
            world.caller = holder(&key(&mut world, &create_key(1, grant, own.map(seconds))));
            let made = key(&mut world, &create_key(2, grant, asked.map(seconds)));
            assert_eq!(made.expires_at, given.map(|given| NOW.plus(seconds(given))), "{own:?} {asked:?}");
        }
    }
}

/// A request may have been admitted before, and wait behind what makes its key good for nothing.
#[test]
fn a_key_that_is_good_for_nothing_any_more_changes_nothing() {
    let mut world = World::default();
    let grant = Grant::Organization(None, Role::Admin);
    let minute = Some(Duration::from_secs(60));
    let [revoked, expiring] =
        [(1, None), (2, minute)].map(|(number, lifetime)| key(&mut world, &create_key(number, grant, lifetime)));
    let commands =
        [create_network(RangeFields::default()), create_key(9, grant, None), Command::RevokeKey(expiring.id)];
    let refuses_all = |world: &mut World| {
        commands.iter().all(|command| world.decide(command).is_err_and(|refusal| refusal == Refusal::KeyGone))
    };
    world.caller = holder(&revoked);
    assert!(commands.iter().all(|command| world.decide(command).is_ok()));
    world.run(&Command::RevokeKey(revoked.id));
    assert!(refuses_all(&mut world));

    world.caller = holder(&expiring);
    world.now = NOW.plus(Duration::from_millis(59_999));
    assert!(!refuses_all(&mut world));
    world.now = NOW.plus(Duration::from_secs(60));
    assert!(refuses_all(&mut world));

    world.now = NOW;
    world.caller = Caller::Client { key: Some(expiring.id), scope: Scope::Operator };
    check(&mut world, &commands[0], RefusalKind::Forbidden, "Invalid request signature");
}

#[test]
fn a_key_id_is_given_once_and_an_organization_has_so_many_keys() {
    let mut world = World::default();
    let grant = Grant::Organization(None, Role::Admin);
    let most = u16::try_from(KEYS_PER_ORGANIZATION_MAX).expect("small");
    for number in 0..most - 1 {
        key(&mut world, &create_key(number, grant, None));
    }
    let message = "there is a key EXO000000000000000000000000 already";
    check(&mut world, &create_key(0, grant, None), RefusalKind::Conflict, message);
    key(&mut world, &create_key(most, grant, None));
    let message = "the organization has 256 keys, the most there may be; revoke one first";
    check(&mut world, &create_key(most + 1, grant, None), RefusalKind::Conflict, message);
    key(&mut world, &create_key(most + 1, Grant::Operator, None));
}

#[test]
fn no_host_is_looked_for_where_the_quota_is_used_up_or_an_organization_names_one() {
    let mut world = World::default();
    let quotas = Quotas { instances: Quota::AtMost(0), ..Quotas::default() };
    let acme = organization(&mut world, &Command::CreateOrganization { name: organization_name("acme"), quotas }).id;
    let known = world.host(1);
    world.caller = member(acme, Role::Admin);
    let mut launch = LaunchInstance {
        name: None,
        host: None,
        driver: Driver::Netns,
        power: Power::Running,
        properties: InstanceProperties::unknown(),
    };
    let message =
        "quota exceeded: the organization may have 0 instances, and has 0; make room, or ask an operator for more";
    check(&mut world, &Command::LaunchInstance(launch.clone()), RefusalKind::Conflict, message);
    let message = "only an operator's key may choose the host of an instance; leave out the label privnet/host";
    for name in [world.zone.host(known).expect("a host").name.clone(), HostName::try_from("h9").expect("valid")] {
        launch.host = Some(name);
        check(&mut world, &Command::LaunchInstance(launch.clone()), RefusalKind::Forbidden, message);
    }
}

#[test]
fn an_organization_has_so_many_ssh_keys_whatever_others_have() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let register = |number: usize| Command::RegisterSshKey {
        name: Name::try_from(format!("{number:04}").as_str()).expect("valid"),
        public_key: KEY.to_owned(),
    };
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    world.run(&register(0));
    world.caller = member(acme, Role::Admin);
    for number in 0..SSH_KEYS_PER_ORGANIZATION_MAX {
        world.run(&register(number));
    }
    let message = "quota exceeded: the organization has 256 SSH keys, the most there may be; delete one first";
    check(&mut world, &register(SSH_KEYS_PER_ORGANIZATION_MAX), RefusalKind::Conflict, message);
    world.run(&register(0));
    assert_eq!(world.zone.seen_by(world.caller).ssh_keys().count(), SSH_KEYS_PER_ORGANIZATION_MAX);
    world.caller = Caller::OPERATOR;
    assert_eq!(world.zone.seen_by(world.caller).ssh_keys().count(), 1);
    world.run(&Command::DeleteOrganization(acme));
    assert_eq!(world.zone.snapshot().ssh_keys.len(), 1);
}

#[test]
fn a_key_is_revoked_by_its_organization_and_by_operators() {
    let mut world = World::default();
    let acme = organization(&mut world, &create("acme")).id;
    let [of_acme, of_default] = [Some(acme), None].map(|organization| Grant::Organization(organization, Role::Admin));
    let [own, anothers] =
        [(1, of_acme), (2, of_default)].map(|(n, grant)| key(&mut world, &create_key(n, grant, None)).id);
    let operators = key(&mut world, &create_key(3, Grant::Operator, None)).id;
    let spare = key(&mut world, &create_key(4, of_acme, None)).id;
    world.caller = member(acme, Role::Admin);
    for (id, text) in [(anothers, "EXO000200000000000000000000"), (operators, "EXO000300000000000000000000")] {
        check(&mut world, &Command::RevokeKey(id), RefusalKind::NotFound, &format!("key {text} not found"));
    }
    assert_eq!(world.zone.seen_by(world.caller).keys().map(|key| key.id).collect::<Vec<_>>(), [own, spare]);
    world.run(&Command::RevokeKey(own));
    assert_eq!(world.refused(&Command::RevokeKey(own)), Refusal::KeyNotFound(own));
    world.caller = Caller::OPERATOR;
    assert_eq!(world.zone.seen_by(world.caller).keys().count(), 3);
    for id in [spare, anothers] {
        world.run(&Command::RevokeKey(id));
    }
    assert_eq!(world.zone.keys().map(|key| key.id).collect::<Vec<_>>(), [operators]);
}

#[test]
fn an_operators_key_that_never_expires_stays() {
    let mut world = World::default();
    let operators = |world: &mut World, number, lifetime| key(world, &create_key(number, Grant::Operator, lifetime)).id;
    let first = operators(&mut world, 1, None);
    let expiring = operators(&mut world, 2, Some(Duration::from_secs(60)));
    key(&mut world, &create_key(3, Grant::Organization(None, Role::Admin), None));
    let message =
        "key EXO000100000000000000000000 is the only operator's key that never expires; create another one first";
    check(&mut world, &Command::RevokeKey(first), RefusalKind::Conflict, message);
    world.run(&Command::RevokeKey(expiring));
    let second = operators(&mut world, 4, None);
    world.run(&Command::RevokeKey(first));
    assert_eq!(world.refused(&Command::RevokeKey(second)), Refusal::LastOperatorKey(second));
}

/// The container runtime of a host, for the organization `default`.
fn runtime(host: HostId) -> Caller {
    Caller::Client { key: None, scope: Scope::Organization(OrganizationId::DEFAULT, Role::Runtime(host)) }
}

#[test]
fn a_container_runtime_registers_attaches_and_deletes_containers_of_its_host() {
    let mut world = World::default();
    let (network, host) = (world.managed(50, 99), world.host(1));
    world.caller = runtime(host);
    let Outcome::Instance(instance) = world.run(&create_instance(1)) else { panic!("no instance") };
    let id = instance.id;
    world.run(&attach(network, id));
    world.run(&Command::UpdateIp { network, instance: id, address: Some(ip(7)) });
    world.run(&Command::Detach { network, instance: id });
    world.run(&attach(network, id));
    world.run(&Command::DestroyInstance(id));
    assert!(world.zone.instance(id).is_none());
}

#[test]
fn a_container_runtime_changes_nothing_that_is_not_on_its_host() {
    let mut world = World::default();
    let (network, host, elsewhere) = (world.managed(50, 99), world.host(1), world.instance_on(2));
    let launch = Command::LaunchInstance(LaunchInstance {
        name: None,
        host: Some(host_name(1)),
        driver: Driver::Netns,
        power: Power::Running,
        properties: InstanceProperties::unknown(),
    });
    let crate::Subject::Instance(launched) = world.operation(&launch).subject else { panic!("no instance") };
    let organization = organization(&mut world, &create("acme"));
    world.caller = runtime(host);
    for instance in [elsewhere, launched] {
        let message = format!("instance {instance} is no container of the host that this key is for");
        for command in [
            attach(network, instance),
            Command::Detach { network, instance },
            Command::UpdateIp { network, instance, address: None },
            Command::DestroyInstance(instance),
        ] {
            check(&mut world, &command, RefusalKind::Forbidden, &message);
        }
    }
    let message = "this key is for a container runtime: it registers, attaches and deletes containers of its host, and nothing else";
    for command in [
        create_instance(2),
        create_network(RangeFields::default()),
        Command::DeleteNetwork(network),
        Command::SetPower(elsewhere, Power::Stopped),
        Command::MoveInstance { instance: elsewhere, host: host_name(1), placement: None },
        Command::RemoveHost { host, with_instances: true },
        create_key(1, Grant::Organization(None, Role::ReadOnly), None),
    ] {
        check(&mut world, &command, RefusalKind::Forbidden, message);
    }
    let Command::CreateInstance { name, host, placement, labels, .. } = create_instance(1) else { panic!("another") };
    let of_others = Command::CreateInstance { name, host, placement, labels, organization: Some(organization.id) };
    let message = format!("organization {} not found", organization.id);
    check(&mut world, &of_others, RefusalKind::NotFound, &message);
}

/// On host 1, in the organization `default`.
fn create_placed(placement: Placement) -> Command {
    let Command::CreateInstance { name, host, labels, .. } = create_instance(1) else { panic!("another") };
    Command::CreateInstance { name, host, placement, labels, organization: None }
}

fn in_netns(text: &str) -> Placement {
    Placement::Netns(Netns::try_from(text).expect("a namespace"))
}

#[test]
fn a_container_runtime_names_namespaces_where_runtimes_have_them_and_none_that_a_host_makes() {
    let mut world = World::default();
    let host = world.host(1);
    world.caller = runtime(host);
    for good in
        ["/run/netns/netns-5c2f", "/var/run/netns/cni-0f1e", "/var/run/docker/netns/default", "web1", "pid:4711@815"]
    {
        world.run(&create_placed(in_netns(good)));
    }
    let made = Netns::of_instance(&host_name(1), InstanceId::MAX);
    for bad in [
        made.as_str(),
        &format!("/run/netns/{made}"),
        &format!("/var/run//netns/./{made}"),
        "/run/netns/privnet-",
        "/run/netns",
        "/run/netns/deeper/cni-1",
        "/dev/watchdog",
        "/tmp/fifo",
        "/proc/4711/ns/net",
        "/proc/self/ns/net",
    ] {
        let refusal = world.refused(&create_placed(in_netns(bad)));
        assert_eq!(refusal, Refusal::NotOfRuntimes(Netns::try_from(bad).expect("a namespace")));
        assert_eq!(refusal.kind(), RefusalKind::Forbidden);
    }
    let tap = Placement::Tap(crate::Tap { owner: None, group: None, is_multi_queue: false });
    assert_eq!(world.refused(&create_placed(tap.clone())), Refusal::NotForRuntimes);
    world.caller = Caller::OPERATOR;
    for placement in [in_netns(made.as_str()), in_netns("/srv/netns/one"), tap] {
        world.run(&create_placed(placement));
    }
}

#[test]
fn a_namespace_is_by_no_process_number_that_another_process_may_have_later() {
    let mut world = World::default();
    let instance = world.instance();
    let placement = in_netns("/proc/4711/ns/net");
    let message = "network namespace /proc/4711/ns/net is whichever process has that number; name the process by its \
                   start, too, as pid:NUMBER@TICKS, which `privnet instance create --pid` does";
    check(&mut world, &create_placed(placement.clone()), RefusalKind::Invalid, message);
    let to = Command::MoveInstance { instance, host: host_name(1), placement: Some(placement) };
    check(&mut world, &to, RefusalKind::Invalid, message);
}

#[test]
fn operators_alone_make_keys_for_container_runtimes_which_go_with_their_hosts() {
    let mut world = World::default();
    let host = world.host(1);
    let grant = Grant::Runtime(None, host);
    let made = key(&mut world, &create_key(1, grant, None));
    assert_eq!(made.scope, Scope::Organization(OrganizationId::DEFAULT, Role::Runtime(host)));
    let unknown = create_key(2, Grant::Runtime(None, HostId::MAX), None);
    check(&mut world, &unknown, RefusalKind::NotFound, &format!("host {} not found", HostId::MAX));
    world.caller = Caller::Client { key: None, scope: Scope::Organization(OrganizationId::DEFAULT, Role::Admin) };
    let refusal = world.refused(&create_key(2, grant, None));
    assert_eq!(refusal.kind(), RefusalKind::Forbidden, "{refusal}");
    world.caller = Caller::Server;
    world.run(&Command::RemoveHost { host, with_instances: false });
    assert!(world.zone.key(made.id).is_none());
}
