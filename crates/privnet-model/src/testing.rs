//! Random lives of a zone, for the tests of whoever holds one: from the same seed, the same life.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::zone::{
    Access, Caller, Change, Circumstances, Command, CreateKey, CreateNetwork, Decision, DeviceWish, Grant, InviteHost,
    JoinHost, LaunchInstance, RangeFields, Refusal, Row, UpdateInstance, UpdateNetwork, UpdateOrganization, Zone,
};
use crate::{
    Account, Description, DeviceName, DhcpOptions, DomainName, Driver, Fingerprint, HostCertificate, HostFacts, HostId,
    HostName, InstanceId, InstanceProperties, InstanceTypeId, InvitationId, KeyId, Labels, Name, Netns, NetworkId,
    OperationId, OperationState, Organization, OrganizationId, OrganizationName, Placement, Power, PublicIp, Quota,
    Quotas, Reason, Role, Scope, SealedSecret, Tap, TemplateId, Timestamp, UserData, Vni,
};

/// What makes a zone of an empty one: the organization `default`, without quotas.
pub fn founding() -> Change {
    let organization = Organization { quotas: Quotas::UNLIMITED, ..Organization::default_at(BIRTH) };
    Change::Organization(Row::insert(organization))
}

/// A zone that has the organization `default` and nothing else.
pub fn founded() -> Zone {
    let mut zone = Zone::default();
    zone.apply(&founding());
    zone
}

/// Whose organization a command is about.
fn owner(zone: &Zone, command: &Command) -> Option<OrganizationId> {
    match command {
        Command::UpdateNetwork(network, _)
        | Command::DeleteNetwork(network)
        | Command::ResetLabels(network)
        | Command::Attach { network, .. }
        | Command::Detach { network, .. }
        | Command::UpdateIp { network, .. } => zone.network(*network).map(|network| network.organization),
        Command::UpdateInstance(instance, _)
        | Command::ResetInstanceLabels(instance)
        | Command::SetPower(instance, _)
        | Command::RebootInstance(instance)
        | Command::ProtectInstance(instance, _)
        | Command::DestroyInstance(instance) => zone.instance(*instance).map(|instance| instance.organization),
        Command::CreateKey { wish: CreateKey { grant: Grant::Organization(organization, _), .. }, .. } => *organization,
        _ => None,
    }
}

/// When lives begin.
const BIRTH: Timestamp = Timestamp::from_unix_ms(1_790_000_000_000);

/// A source of commands and circumstances. Names, addresses and VNIs are few, so that commands get
/// in each other's way and meet every refusal.
#[derive(Debug, Clone)]
pub struct Life {
    state: u64,
    now: Timestamp,
}

impl Life {
    /// The life that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, now: BIRTH }
    }

    /// A command that may fit the zone.
    pub fn command(&mut self, zone: &Zone) -> Command {
        match self.below(59) {
            43 | 49 | 50 => self.create_organization(),
            44 => self.update_organization(zone),
            45 => Command::DeleteOrganization(self.organization(zone)),
            46..48 => self.create_key(zone),
            48 => Command::RevokeKey(self.key(zone)),
            51..53 => Command::RegisterSshKey { name: self.name(), public_key: self.public_key() },
            53 => Command::DeleteSshKey(self.name()),
            54 => self.invite_host(),
            58 => Command::RevokeInvitation(self.pick(zone.invitations()).map_or(InvitationId::MAX, |one| one.id)),
            55 => self.join_host(zone),
            56 => self.admit_host(zone),
            57 => self.renew_certificate(zone),
            0..2 => self.register_host(zone),
            2..5 => self.create_instance(zone),
            5..8 => Command::CreateNetwork(self.create_network()),
            8..14 => self.attach(zone),
            14..17 => {
                let (network, instance) = self.port(zone);
                Command::Detach { network, instance }
            }
            17..20 => {
                let (network, instance) = self.port(zone);
                Command::UpdateIp { network, instance, address: self.maybe(Self::address) }
            }
            20..23 => Command::UpdateNetwork(self.network(zone), self.update_network()),
            23 => Command::DeleteNetwork(self.network(zone)),
            24 => Command::ResetLabels(self.network(zone)),
            25 => Command::DeleteInstance(self.instance(zone)),
            26 => Command::RemoveHost { host: self.host(zone), with_instances: self.below(2) == 0 },
            27..29 => self.confirm_absent(zone),
            29..32 => self.move_instance(zone),
            32..34 => Command::LaunchInstance(self.launch_instance(zone)),
            34 => Command::UpdateInstance(self.instance(zone), self.update_instance()),
            35 => Command::SetPower(self.instance(zone), self.power()),
            36 => Command::RebootInstance(self.instance(zone)),
            37 => Command::ProtectInstance(self.instance(zone), self.below(4) == 0),
            38 => Command::DestroyInstance(self.instance(zone)),
            39 => Command::ResetInstanceLabels(self.instance(zone)),
            _ => Command::FinishOperation(self.operation(zone), self.final_state()),
        }
    }

    /// Who may give a command: mostly somebody of the organization that has what it names, sometimes anybody else.
    pub fn caller(&mut self, zone: &Zone, command: &Command) -> Caller {
        match command.access() {
            Access::Server => Caller::Server,
            Access::Operator => Caller::OPERATOR,
            Access::Read | Access::Admin | Access::Attach | Access::Place => {
                let host = self.pick(zone.hosts()).map(|host| host.id);
                let role = match (self.below(16), host) {
                    (0, _) => Role::ReadOnly,
                    (1..5, Some(host)) => Role::Runtime(host),
                    _ => Role::Admin,
                };
                let owner = owner(zone, command).filter(|_| self.below(8) > 0);
                let organization = owner.unwrap_or_else(|| self.organization(zone));
                match self.below(4) {
                    0 => Caller::OPERATOR,
                    _ => Caller::Client { key: None, scope: Scope::Organization(organization, role) },
                }
            }
        }
    }

    /// Decides a command of whoever may give it at the present moment, which is a little later each time.
    ///
    /// # Errors
    /// Those of [`Zone::decide`].
    pub fn decide(&mut self, zone: &Zone, command: &Command) -> Result<Decision, Refusal> {
        let caller = self.caller(zone, command);
        self.decide_for(caller, zone, command)
    }

    /// Decides a command of this caller.
    ///
    /// # Errors
    /// Those of [`Zone::decide`].
    pub fn decide_for(&mut self, caller: Caller, zone: &Zone, command: &Command) -> Result<Decision, Refusal> {
        self.now = self.now.plus(Duration::from_millis(self.below(20)));
        let (now, operation_timeout) = (self.now, Duration::from_secs(60));
        let random = &mut || self.few_vnis();
        let mut world =
            Circumstances { caller, request: None, now, operation_timeout, random, makes_instances: &|_| true };
        zone.decide(command, &mut world)
    }

    /// A uniform number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// One of the items; `None` where there are none.
    pub fn pick<T>(&mut self, items: impl IntoIterator<Item = T>) -> Option<T> {
        let mut items: Vec<_> = items.into_iter().collect();
        if items.is_empty() {
            return None;
        }
        let index = self.below(items.len() as u64) as usize;
        Some(items.swap_remove(index))
    }

    /// SplitMix64, as it is published: good enough to reach every corner, and a page shorter than a crate.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number that selects one of four VNIs every other time. The rest of its bits are random, so
    /// that ids made of it are unique.
    fn few_vnis(&mut self) -> u64 {
        let number = self.number();
        if number.is_multiple_of(2) { number } else { number - number % u64::from(Vni::MAX) + self.below(4) }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn host_name(&mut self) -> HostName {
        HostName::try_from(format!("host-{}", self.below(4)).as_str()).expect("valid")
    }

    fn host_facts(&mut self) -> HostFacts {
        let vtep = match self.below(8) {
            0 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
            last => IpAddr::from([192, 0, 2, last as u8]),
        };
        let underlay_mtu_bytes = if self.below(4) == 0 { 9000 } else { 1500 };
        HostFacts { vtep, underlay_mtu_bytes, version: format!("0.{}", self.below(3)) }
    }

    /// Every other time of a host that is known, of which one thing is another.
    fn register_host(&mut self, zone: &Zone) -> Command {
        let (name, facts) = (self.host_name(), self.host_facts());
        match zone.host_by_name(&name) {
            Some(host) if self.below(2) == 0 => {
                let underlay_mtu_bytes = facts.underlay_mtu_bytes;
                Command::RegisterHost { name, facts: HostFacts { underlay_mtu_bytes, ..host.facts.clone() } }
            }
            _ => Command::RegisterHost { name, facts },
        }
    }

    /// Tokens, keys and certificates are few, too.
    fn fingerprint(&mut self) -> Fingerprint {
        Fingerprint::from_bytes([self.below(4) as u8; Fingerprint::OCTETS])
    }

    fn certificate(&mut self) -> HostCertificate {
        HostCertificate { fingerprint: self.fingerprint(), expires_at: self.now }
    }

    fn invite_host(&mut self) -> Command {
        Command::InviteHost(InviteHost {
            host: self.host_name(),
            token: Fingerprint::from_bytes(std::array::from_fn(|_| self.below(256) as u8)),
            is_rejoin: self.below(2) == 0,
            lifetime: Duration::from_secs(3600),
        })
    }

    fn join_host(&mut self, zone: &Zone) -> Command {
        let invitation = self.pick(zone.invitations()).cloned();
        Command::JoinHost(JoinHost {
            token: invitation.as_ref().map_or_else(|| self.fingerprint(), |invitation| invitation.token),
            name: invitation.map_or_else(|| self.host_name(), |invitation| invitation.host.clone()),
            key: self.fingerprint(),
            certificate: self.certificate(),
            facts: self.host_facts(),
        })
    }

    fn admit_host(&mut self, zone: &Zone) -> Command {
        let (name, facts) = (self.host_name(), self.host_facts());
        Command::AdmitHost { certificate: self.shown(zone, &name), name, facts }
    }

    fn renew_certificate(&mut self, zone: &Zone) -> Command {
        let name = self.host_name();
        Command::RenewCertificate { shown: self.shown(zone, &name), next: self.certificate(), name }
    }

    /// What the host has got last, or anything.
    fn shown(&mut self, zone: &Zone, name: &HostName) -> Fingerprint {
        let certificates = zone.host_by_name(name).map(|host| host.certificates);
        let last = certificates.and_then(|certificates| certificates.next.or(certificates.current));
        last.map_or_else(|| self.fingerprint(), |certificate| certificate.fingerprint)
    }

    fn create_instance(&mut self, zone: &Zone) -> Command {
        let host = self.pick(zone.hosts()).map(|host| host.name.clone());
        Command::CreateInstance {
            name: self.name(),
            host: host.unwrap_or_else(|| self.host_name()),
            placement: self.placement(),
            organization: self.maybe(|life| life.organization(zone)),
            labels: self.labels(),
        }
    }

    /// Mostly with an instance of the network's organization.
    fn attach(&mut self, zone: &Zone) -> Command {
        let network = self.network(zone);
        let owner = zone.network(network).map(|network| network.organization).filter(|_| self.below(8) > 0);
        let instances = zone.instances().filter(|instance| owner.is_none_or(|owner| instance.organization == owner));
        let instance = self.pick(instances).map(|instance| instance.id);
        let instance = instance.unwrap_or_else(|| self.instance(zone));
        Command::Attach { network, instance, address: self.maybe(Self::address), device: self.device() }
    }

    fn device(&mut self) -> DeviceWish {
        let name = |life: &mut Self| DeviceName::try_from(format!("eth{}", life.below(3)).as_str()).expect("valid");
        DeviceWish { name: self.maybe(name), is_configured: self.below(2) == 0 }
    }

    fn create_organization(&mut self) -> Command {
        Command::CreateOrganization { name: self.organization_name(), quotas: Quotas::default() }
    }

    fn update_organization(&mut self, zone: &Zone) -> Command {
        let wish = UpdateOrganization {
            name: self.maybe(Self::organization_name),
            networks: self.maybe(Self::quota),
            ports_per_network: self.maybe(Self::quota),
            instances: self.maybe(Self::quota),
        };
        Command::UpdateOrganization(self.organization(zone), wish)
    }

    fn organization_name(&mut self) -> OrganizationName {
        OrganizationName::try_from(format!("organization-{}", self.below(4)).as_str()).expect("valid")
    }

    fn quota(&mut self) -> Quota {
        self.maybe(|life| Quota::AtMost(life.below(12) as u32)).unwrap_or(Quota::Unlimited)
    }

    fn create_key(&mut self, zone: &Zone) -> Command {
        let [a, b] = [self.number(), self.number()].map(u64::to_be_bytes);
        let mut id = [0; KeyId::OCTETS];
        id[..8].copy_from_slice(&a);
        id[8..].copy_from_slice(&b[..4]);
        let role = self.pick(Role::ALL).expect("there are some");
        let organization = self.maybe(|life| life.organization(zone));
        let host = self.pick(zone.hosts()).map_or(HostId::MAX, |host| host.id);
        let grant = match self.below(8) {
            0 | 1 => Grant::Operator,
            2 => Grant::Runtime(organization, host),
            _ => Grant::Organization(organization, role),
        };
        let lifetime = self.maybe(|life| Duration::from_secs(life.below(100)));
        let wish = CreateKey { name: self.name(), grant, lifetime };
        Command::CreateKey { id: KeyId::from_bytes(id), sealed_secret: SealedSecret::new(b), wish }
    }

    fn move_instance(&mut self, zone: &Zone) -> Command {
        let host = self.pick(zone.hosts()).map(|host| host.name.clone());
        let instance = if self.below(8) > 0 { self.port(zone).1 } else { self.instance(zone) };
        Command::MoveInstance {
            instance,
            host: host.unwrap_or_else(|| self.host_name()),
            placement: self.maybe(Self::placement),
        }
    }

    fn launch_instance(&mut self, zone: &Zone) -> LaunchInstance {
        let host = self.maybe(|life| life.pick(zone.hosts()).map(|host| host.name.clone())).flatten();
        LaunchInstance {
            name: self.maybe(Self::name),
            host,
            driver: if self.below(4) == 0 { Driver::External } else { Driver::Netns },
            power: self.power(),
            properties: self.properties(),
        }
    }

    fn update_instance(&mut self) -> UpdateInstance {
        UpdateInstance {
            name: self.maybe(Self::name),
            user_data: self.maybe(Self::user_data),
            labels: self.maybe(Self::labels),
            public_ip: self.maybe(|life| PublicIp::ALL[life.below(3) as usize]),
            instance_type: self.maybe(|life| InstanceTypeId::built_in(life.below(8) as u8)),
            disk_size_gib: self.maybe(|life| 10 + life.below(90) as u32),
            has_tpm: self.maybe(|life| life.below(2) == 0),
        }
    }

    fn properties(&mut self) -> InstanceProperties {
        InstanceProperties {
            instance_type: InstanceTypeId::built_in(self.below(8) as u8),
            template: TemplateId::built_in(self.below(8) as u8),
            disk_size_gib: 10 + self.below(90) as u32,
            public_ip: PublicIp::ALL[self.below(3) as usize],
            ssh_keys: (0..self.below(3)).map(|_| self.name()).collect(),
            user_data: self.maybe(Self::user_data),
            labels: self.labels(),
            has_secure_boot: self.below(2) == 0,
            has_tpm: self.below(2) == 0,
        }
    }

    fn public_key(&mut self) -> String {
        let comment = self.below(3);
        match self.below(8) {
            0 => "no key".to_owned(),
            _ => format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f {comment}"),
        }
    }

    fn user_data(&mut self) -> UserData {
        UserData::new(format!("user data é {}", self.below(10)))
    }

    fn power(&mut self) -> Power {
        if self.below(2) == 0 { Power::Stopped } else { Power::Running }
    }

    fn placement(&mut self) -> Placement {
        if self.below(4) == 0 {
            return Placement::Tap(Tap {
                owner: self.maybe(Self::account),
                group: self.maybe(Self::account),
                is_multi_queue: self.below(2) == 0,
            });
        }
        Placement::Netns(Netns::try_from(format!("netns-{}", self.below(100)).as_str()).expect("valid"))
    }

    fn account(&mut self) -> Account {
        let text = [self.below(100).to_string(), format!("vm-{}", self.below(100))];
        Account::try_from(text[self.below(2) as usize].as_str()).expect("valid")
    }

    fn create_network(&mut self) -> CreateNetwork {
        CreateNetwork {
            name: self.name(),
            description: self.description(),
            range: self.maybe(Self::range).unwrap_or_default(),
            options: self.options(),
            labels: self.labels(),
        }
    }

    fn update_network(&mut self) -> UpdateNetwork {
        UpdateNetwork {
            name: self.maybe(Self::name),
            description: self.maybe(Self::description),
            range: self.maybe(Self::range).unwrap_or_default(),
            options: self.maybe(Self::options),
            labels: self.maybe(Self::labels),
        }
    }

    fn name(&mut self) -> Name {
        Name::try_from(format!("name \"{}\"", self.below(10)).as_str()).expect("valid")
    }

    fn description(&mut self) -> Description {
        let text = self.maybe(|life| format!("description é {}", life.below(10))).unwrap_or_default();
        Description::try_from(text.as_str()).expect("valid")
    }

    /// Often a valid range of at most eight addresses in one of two subnets, sometimes half of one.
    fn range(&mut self) -> RangeFields {
        let start = self.address();
        let end = Ipv4Addr::from_bits(start.to_bits() + self.below(8) as u32);
        match self.below(8) {
            0 => RangeFields { start: Some(start), ..RangeFields::default() },
            1 => RangeFields { end: Some(end), ..RangeFields::default() },
            _ => RangeFields { start: Some(start), end: Some(end), netmask: Some(Ipv4Addr::new(255, 255, 255, 224)) },
        }
    }

    fn address(&mut self) -> Ipv4Addr {
        let subnet = if self.below(8) == 0 { 32 } else { 0 };
        Ipv4Addr::new(10, 0, 0, subnet + self.below(16) as u8)
    }

    fn options(&mut self) -> DhcpOptions {
        let [routers, dns_servers, ntp_servers] =
            [(); 3].map(|()| (0..self.below(3)).map(|_| self.address()).collect::<Vec<_>>());
        let domain_search = self.maybe(|_| vec![DomainName::try_from("lab.example.net").expect("valid")]);
        DhcpOptions::new(routers, dns_servers, ntp_servers, domain_search.unwrap_or_default()).expect("short lists")
    }

    fn labels(&mut self) -> Labels {
        (0..self.below(3)).map(|index| (format!("key {index}"), format!("\"{}'", self.below(10)))).collect()
    }

    fn organization(&mut self, zone: &Zone) -> OrganizationId {
        let organization = self.pick(zone.organizations()).map(|organization| organization.id);
        organization.unwrap_or_else(|| OrganizationId::new(self.number(), [0; 10]))
    }

    fn key(&mut self, zone: &Zone) -> KeyId {
        let key = self.pick(zone.keys()).map(|key| key.id);
        key.unwrap_or_else(|| KeyId::from_bytes([0; KeyId::OCTETS]))
    }

    fn network(&mut self, zone: &Zone) -> NetworkId {
        let network = self.pick(zone.networks()).map(|network| network.id);
        network.unwrap_or_else(|| NetworkId::new(self.number(), [0; 10]))
    }

    fn instance(&mut self, zone: &Zone) -> InstanceId {
        let instance = self.pick(zone.instances()).map(|instance| instance.id);
        instance.unwrap_or_else(|| InstanceId::new(self.number(), [0; 10]))
    }

    fn host(&mut self, zone: &Zone) -> HostId {
        let host = self.pick(zone.hosts()).map(|host| host.id);
        host.unwrap_or_else(|| HostId::new(self.number(), [0; 10]))
    }

    fn port(&mut self, zone: &Zone) -> (NetworkId, InstanceId) {
        let ports = zone.networks().flat_map(|network| zone.ports_of_network(network.id));
        match self.pick(ports) {
            Some(port) if self.below(8) > 0 => (port.network, port.instance),
            _ => (self.network(zone), self.instance(zone)),
        }
    }

    fn confirm_absent(&mut self, zone: &Zone) -> Command {
        let carried = zone.hosts().flat_map(|host| zone.carried_by(host.id).map(|network| (host.id, network)));
        let (host, network) = self.pick(carried).unwrap_or_else(|| (self.host(zone), self.network(zone)));
        Command::ConfirmAbsent { host, network }
    }

    fn operation(&mut self, zone: &Zone) -> OperationId {
        let operation = self.pick(zone.pending_operations()).map(|operation| operation.id);
        operation.unwrap_or_else(|| OperationId::new(self.number(), [0; 10]))
    }

    fn final_state(&mut self) -> OperationState {
        let message = format!("message {}", self.below(10));
        match self.below(5) {
            0 => OperationState::Timeout { message },
            1 => {
                let reason = self.pick(Reason::ALL).expect("there are some");
                OperationState::Failure { reason, message }
            }
            _ => OperationState::Success,
        }
    }
}
