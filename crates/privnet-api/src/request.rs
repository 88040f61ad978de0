use std::fmt;
use std::time::Duration;

use privnet_model::zone::{self, Command, DeviceWish, Grant, RangeFields, Refusal};
use privnet_model::{
    Account, AccountError, AddressRange, DeviceName, DeviceNameError, HostId, HostName, HostNameError, InstanceId,
    InstanceTypeId, KeyId, Name, Netns, NetnsError, NetworkId, OperationId, OrganizationId, OrganizationName,
    OrganizationNameError, ParseIdError, ParseKeyIdError, Placement, Power, Quotas, Role, Tap, TemplateId, Timestamp,
};
use serde_json::{Map, Value};

use self::fields::{Faults, Fields, Given, cut, description_of};
use crate::{Call, Route, query};

pub mod body;
mod fields;
mod instance;

pub use instance::InstanceFilter;

/// What a request asks for. Its values have passed their own rules; whether they fit what there is
/// only the zone knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// list-private-networks
    ListNetworks,
    /// get-private-network
    GetNetwork(NetworkId),
    /// get-operation
    GetOperation(OperationId),
    /// list-zones
    ListZones,
    /// list-instances
    ListInstances(InstanceFilter),
    /// get-instance
    GetInstance(InstanceId),
    /// list-instance-types
    ListInstanceTypes,
    /// get-instance-type
    GetInstanceType(InstanceTypeId),
    /// list-templates
    ListTemplates,
    /// get-template
    GetTemplate(TemplateId),
    /// list-ssh-keys
    ListSshKeys,
    /// get-ssh-key
    GetSshKey(Name),
    /// list-anti-affinity-groups
    ListAntiAffinityGroups,
    /// list-security-groups
    ListSecurityGroups,
    /// list-elastic-ips
    ListElasticIps,
    /// list-deploy-targets
    ListDeployTargets,
    /// list-quotas
    ListQuotas,
    /// get-quota, of whatever the path names
    GetQuota(String),
    /// list-events
    ListEvents(EventFilter),
    /// list-audit-log
    ListLog(EventFilter),
    /// list-hosts
    ListHosts,
    /// get-host
    GetHost(HostId),
    /// list-placed-instances
    ListPlacedInstances,
    /// list-organizations
    ListOrganizations,
    /// get-organization
    GetOrganization(OrganizationId),
    /// list-keys
    ListKeys,
    /// create-key: a command once somebody has made a secret
    CreateKey(zone::CreateKey),
    /// list-host-invitations
    ListInvitations,
    /// invite-host: a command once somebody has made a token
    InviteHost(InviteHost),
    /// get-health
    Health,
    /// get-readiness
    Readiness,
    /// get-openapi-document
    Document,
    /// Any other endpoint that changes something.
    Change(Command),
}

/// Whom somebody invites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteHost {
    /// What the host will be called.
    pub host: HostName,
    /// Whether it is for a host that there is.
    pub is_rejoin: bool,
    /// For how long.
    pub lifetime: Duration,
}

/// Which events somebody asks for. What is absent is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those from this moment on.
    pub from: Option<Timestamp>,
    /// Those before this moment.
    pub to: Option<Timestamp>,
    /// Those that this organization may read.
    pub organization: Option<OrganizationId>,
    /// Those of requests with this key.
    pub key: Option<KeyId>,
    /// Those before the one with this number.
    pub before: Option<u64>,
}

/// A request breaks rules that can be told without looking at anything else: 400.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// The body is not JSON at all. The source tells the line and column.
    #[error("the body is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// The body is JSON of another kind.
    #[error("the body must be a JSON object, not {0}")]
    NotAnObject(String),
    /// Properties of the path or body, each with its value and its rule.
    #[error("{0}")]
    Fields(FaultList),
}

/// How many faults of one request are told; the rest is counted.
const FAULTS_TOLD_MAX: usize = 20;

/// Everything wrong with a request, at least one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultList(Vec<String>);

impl fmt::Display for FaultList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.0[..self.0.len().min(FAULTS_TOLD_MAX)];
        f.write_str(&told.join("; "))?;
        match self.0.len() - told.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Reads a request's path parameters, and its body or, where it has none, its query.
///
/// An empty body is an empty object, as python-exoscale sends it. Properties that nobody asked for
/// are ignored, as clients send more than is needed: a detach carries a whole instance.
///
/// # Errors
/// [`BadRequest::NotJson`], [`BadRequest::NotAnObject`], then [`BadRequest::Fields`] with every
/// fault of path and body together.
pub fn read(route: &Route, query: &str, body: &[u8]) -> Result<Request, BadRequest> {
    let object = match route.endpoint.request {
        Some(_) => parse(body)?,
        None => query::object(query),
    };
    let mut faults = Faults::default();
    let request = Reader { params: &route.params, object: &object, faults: &mut faults }.read(route.endpoint.call);
    match request {
        Some(request) if faults.is_empty() => Ok(request),
        _ => Err(BadRequest::Fields(FaultList(faults.into_sentences()))),
    }
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, BadRequest> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body).map_err(BadRequest::NotJson)? {
        Value::Object(object) => Ok(object),
        other => Err(BadRequest::NotAnObject(description_of(&other))),
    }
}

/// Each method answers `None` only after it has noted a fault.
struct Reader<'a> {
    params: &'a [String],
    object: &'a Map<String, Value>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn read(mut self, call: Call) -> Option<Request> {
        let request = match call {
            Call::ListPrivateNetworks => Request::ListNetworks,
            Call::GetPrivateNetwork => Request::GetNetwork(self.path_id()?),
            Call::GetOperation => Request::GetOperation(self.path_id()?),
            Call::ListZones => Request::ListZones,
            Call::ListInstances => Request::ListInstances(self.instance_filter()?),
            Call::LaunchInstance => Request::Change(self.launch_instance()?),
            Call::GetInstance => Request::GetInstance(self.path_id()?),
            Call::UpdateInstance => Request::Change(self.update_instance()?),
            Call::ScaleInstance => Request::Change(self.scale_instance()?),
            Call::ResizeInstanceDisk => Request::Change(self.resize_disk()?),
            Call::EnableTpm => Request::Change(self.enable_tpm()?),
            Call::DestroyInstance => Request::Change(Command::DestroyInstance(self.path_id()?)),
            Call::ResetInstanceField => Request::Change(self.reset_instance_field()?),
            Call::StartInstance => Request::Change(Command::SetPower(self.path_id()?, Power::Running)),
            Call::StopInstance => Request::Change(Command::SetPower(self.path_id()?, Power::Stopped)),
            Call::RebootInstance => Request::Change(Command::RebootInstance(self.path_id()?)),
            Call::AddInstanceProtection => Request::Change(Command::ProtectInstance(self.path_id()?, true)),
            Call::RemoveInstanceProtection => Request::Change(Command::ProtectInstance(self.path_id()?, false)),
            Call::ListInstanceTypes => Request::ListInstanceTypes,
            Call::GetInstanceType => Request::GetInstanceType(self.path_id()?),
            Call::ListTemplates => Request::ListTemplates,
            Call::GetTemplate => Request::GetTemplate(self.path_id()?),
            Call::ListSshKeys => Request::ListSshKeys,
            Call::RegisterSshKey => Request::Change(self.register_ssh_key()?),
            Call::GetSshKey => Request::GetSshKey(self.path_name()?),
            Call::DeleteSshKey => Request::Change(Command::DeleteSshKey(self.path_name()?)),
            Call::ListAntiAffinityGroups => Request::ListAntiAffinityGroups,
            Call::ListSecurityGroups => Request::ListSecurityGroups,
            Call::ListElasticIps => Request::ListElasticIps,
            Call::ListDeployTargets => Request::ListDeployTargets,
            Call::ListQuotas => Request::ListQuotas,
            Call::GetQuota => Request::GetQuota(cut(self.params.first().map_or("", String::as_str))),
            Call::ListEvents => Request::ListEvents(self.event_filter()?),
            Call::ListLog => Request::ListLog(self.event_filter()?),
            Call::ListHosts => Request::ListHosts,
            Call::GetHost => Request::GetHost(self.path_id()?),
            Call::ListInvitations => Request::ListInvitations,
            Call::InviteHost => Request::InviteHost(self.invite_host()?),
            Call::RevokeInvitation => Request::Change(Command::RevokeInvitation(self.path_id()?)),
            Call::ListPlacedInstances => Request::ListPlacedInstances,
            Call::ListOrganizations => Request::ListOrganizations,
            Call::GetOrganization => Request::GetOrganization(self.path_id()?),
            Call::CreateOrganization => Request::Change(self.create_organization()?),
            Call::UpdateOrganization => Request::Change(self.update_organization()?),
            Call::DeleteOrganization => Request::Change(Command::DeleteOrganization(self.path_id()?)),
            Call::ListKeys => Request::ListKeys,
            Call::CreateKey => Request::CreateKey(self.create_key()?),
            Call::RevokeKey => Request::Change(Command::RevokeKey(self.path_key()?)),
            Call::Health => Request::Health,
            Call::Readiness => Request::Readiness,
            Call::Document => Request::Document,
            Call::CreatePrivateNetwork => Request::Change(self.create_network()?),
            Call::UpdatePrivateNetwork => Request::Change(self.update_network()?),
            Call::DeletePrivateNetwork => Request::Change(Command::DeleteNetwork(self.path_id()?)),
            Call::ResetPrivateNetworkField => Request::Change(self.reset_field()?),
            Call::AttachInstance => Request::Change(self.attach()?),
            Call::DetachInstance => Request::Change(self.detach()?),
            Call::UpdateInstanceIp => Request::Change(self.update_ip()?),
            Call::RemoveHost => Request::Change(self.remove_host(false)?),
            Call::RemoveHostWithInstances => Request::Change(self.remove_host(true)?),
            Call::AttachDevice => Request::Change(self.attach_device()?),
            Call::CreateInstance => Request::Change(self.create_instance()?),
            Call::MoveInstance => Request::Change(self.move_instance()?),
            Call::DeleteInstance => Request::Change(Command::DeleteInstance(self.path_id()?)),
        };
        Some(request)
    }

    fn event_filter(&mut self) -> Option<EventFilter> {
        let mut fields = self.fields();
        let [from, to] = ["from", "to"].map(|name| fields.parsed(name, moment).good());
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            fields.note("from is after to".to_owned());
        }
        Some(EventFilter {
            from,
            to,
            organization: fields
                .parsed("organization", |text| text.parse().map_err(|_| ParseIdError(cut(text))))
                .good(),
            key: fields.parsed("key", |text| text.parse().map_err(|_| ParseKeyIdError(cut(text)))).good(),
            before: fields.parsed("before", event_number).good(),
        })
    }

    fn create_network(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = fields.name().required(&mut fields, "name");
        let description = fields.description();
        let range = range(&mut fields, Missing::IsAFault);
        let options = fields.options();
        let labels = fields.labels();
        Some(Command::CreateNetwork(zone::CreateNetwork {
            name: name?,
            description: description.good().unwrap_or_default(),
            range,
            options: options.good().unwrap_or_default(),
            labels: labels.good().unwrap_or_default(),
        }))
    }

    fn update_network(&mut self) -> Option<Command> {
        let id = self.path_id();
        let mut fields = self.fields();
        let wish = zone::UpdateNetwork {
            name: fields.name().good(),
            description: fields.description().good(),
            range: range(&mut fields, Missing::MayBeSetAlready),
            options: fields.options().good(),
            labels: fields.labels().good(),
        };
        Some(Command::UpdateNetwork(id?, wish))
    }

    fn reset_field(&mut self) -> Option<Command> {
        let id = self.path_id();
        self.expect_labels();
        Some(Command::ResetLabels(id?))
    }

    /// The only field that can be reset is the labels.
    fn expect_labels(&mut self) {
        match self.params.get(1).map(String::as_str) {
            Some("labels") => {}
            other => {
                let field = cut(other.unwrap_or_default());
                self.faults.note(format!("field: \"{field}\" cannot be reset; labels is the only field that can"));
            }
        }
    }

    fn attach(&mut self) -> Option<Command> {
        let network = self.path_id();
        let mut fields = self.fields();
        let instance = fields.instance_id();
        let address = fields.address("ip").good();
        Some(Command::Attach { network: network?, instance: instance?, address, device: DeviceWish::default() })
    }

    fn attach_device(&mut self) -> Option<Command> {
        let network = self.path_id();
        let mut fields = self.fields();
        let instance = fields.instance_id();
        let address = fields.address("ip").good();
        let name = fields.parsed("device", |text| DeviceName::try_from(text).map_err(|_| DeviceNameError(cut(text))));
        let device = DeviceWish { name: name.good(), is_configured: fields.truth("configure").good().unwrap_or(false) };
        Some(Command::Attach { network: network?, instance: instance?, address, device })
    }

    fn detach(&mut self) -> Option<Command> {
        let network = self.path_id();
        let instance = self.fields().instance_id();
        Some(Command::Detach { network: network?, instance: instance? })
    }

    fn update_ip(&mut self) -> Option<Command> {
        let network = self.path_id();
        let mut fields = self.fields();
        let instance = fields.instance_id();
        let address = fields.address("ip").good();
        Some(Command::UpdateIp { network: network?, instance: instance?, address })
    }

    fn remove_host(&mut self, with_instances: bool) -> Option<Command> {
        Some(Command::RemoveHost { host: self.path_id()?, with_instances })
    }

    fn create_instance(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = fields.name().required(&mut fields, "name");
        let host = host(&mut fields);
        let netns = netns(&mut fields);
        let tap = tap(&mut fields);
        let kind = fields.parsed("kind", Kind::parse).required(&mut fields, "kind");
        let organization = fields.organization().good();
        let labels = fields.labels().good().unwrap_or_default();
        let placement = match kind? {
            Kind::Netns => Placement::Netns(netns.required(&mut fields, "netns")?),
            Kind::Tap => Placement::Tap(tap?),
        };
        Some(Command::CreateInstance { name: name?, host: host?, placement, organization, labels })
    }

    fn create_organization(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = organization_name(&mut fields).required(&mut fields, "name");
        let [networks, ports_per_network, instances] = fields.quotas();
        let default = Quotas::default();
        let quotas = Quotas {
            networks: networks.unwrap_or(default.networks),
            ports_per_network: ports_per_network.unwrap_or(default.ports_per_network),
            instances: instances.unwrap_or(default.instances),
        };
        Some(Command::CreateOrganization { name: name?, quotas })
    }

    fn update_organization(&mut self) -> Option<Command> {
        let id = self.path_id();
        let mut fields = self.fields();
        let name = organization_name(&mut fields).good();
        let [networks, ports_per_network, instances] = fields.quotas();
        let wish = zone::UpdateOrganization { name, networks, ports_per_network, instances };
        Some(Command::UpdateOrganization(id?, wish))
    }

    fn create_key(&mut self) -> Option<zone::CreateKey> {
        let mut fields = self.fields();
        let name = fields.name().required(&mut fields, "name");
        let organization = fields.organization();
        let role = fields.parsed("role", KeyRole::parse).required(&mut fields, "role");
        let host = fields.parsed("host", |text| text.parse().map_err(|_| ParseIdError(cut(text))));
        let seconds = fields.number("expires-in-seconds", 1..=KEY_LIFETIME_SECONDS_MAX);
        let grant = match (role?, organization) {
            (KeyRole::Of(role), organization) => Grant::Organization(organization.good(), role),
            (KeyRole::Runtime, organization) => {
                Grant::Runtime(organization.good(), host.required(&mut fields, "host")?)
            }
            (KeyRole::Operator, Given::Absent) => Grant::Operator,
            (KeyRole::Operator, Given::Bad) => return None,
            (KeyRole::Operator, Given::Good(_)) => {
                fields.note("organization: an operator's key belongs to none; leave the property out".to_owned());
                return None;
            }
        };
        let lifetime = seconds.good().map(Duration::from_secs);
        Some(zone::CreateKey { name: name?, grant, lifetime })
    }

    fn invite_host(&mut self) -> Option<InviteHost> {
        let mut fields = self.fields();
        let host = host(&mut fields);
        let is_rejoin = fields.truth("rejoin").good().unwrap_or_default();
        let seconds = fields.number("expires-in-seconds", 1..=INVITATION_SECONDS_MAX);
        let lifetime = Duration::from_secs(seconds.good().unwrap_or(INVITATION_SECONDS));
        Some(InviteHost { host: host?, is_rejoin, lifetime })
    }

    fn move_instance(&mut self) -> Option<Command> {
        let instance = self.path_id();
        let mut fields = self.fields();
        let host = host(&mut fields);
        let netns = netns(&mut fields).good();
        let tap = tap(&mut fields);
        // Of a namespace, its name says the kind as well.
        let placement = match fields.parsed("kind", Kind::parse).good() {
            Some(Kind::Tap) => Some(Placement::Tap(tap?)),
            Some(Kind::Netns) | None => netns.map(Placement::Netns),
        };
        Some(Command::MoveInstance { instance: instance?, host: host?, placement })
    }

    fn fields(&mut self) -> Fields<'_> {
        Fields::new(self.object, self.faults)
    }

    /// The first parameter of the path, a name.
    fn path_name(&mut self) -> Option<Name> {
        let name = Name::try_from(self.params.first().map_or("", String::as_str));
        name.map_err(|error| self.faults.note(format!("name: {error}"))).ok()
    }

    /// The first parameter of the path.
    fn path_id<T: std::str::FromStr<Err = privnet_model::ParseIdError>>(&mut self) -> Option<T> {
        fields::id("id", self.params.first().map_or("", String::as_str), self.faults)
    }

    fn path_key(&mut self) -> Option<KeyId> {
        let text = self.params.first().map_or("", String::as_str);
        let id = text.parse().map_err(|_| ParseKeyIdError(cut(text)));
        id.map_err(|error| self.faults.note(format!("key: {error}"))).ok()
    }
}

/// 100 years: a key that is to be good for longer is one without an end.
const KEY_LIFETIME_SECONDS_MAX: u64 = 3_155_760_000;

/// How long an invitation is good where nobody says: an hour.
const INVITATION_SECONDS: u64 = 3600;

/// The longest that an invitation may be good: 30 days.
const INVITATION_SECONDS_MAX: u64 = 30 * 86_400;

/// What a key may be asked to be good for.
enum KeyRole {
    Operator,
    Runtime,
    Of(Role),
}

impl KeyRole {
    fn parse(text: &str) -> Result<Self, String> {
        match (text, Role::parse(text, None)) {
            ("operator", _) => Ok(Self::Operator),
            (Role::RUNTIME, _) => Ok(Self::Runtime),
            (_, Some(role)) => Ok(Self::Of(role)),
            _ => Err(format!("\"{}\" is not a role; admin, operator, read-only and runtime are", cut(text))),
        }
    }
}

fn organization_name(fields: &mut Fields<'_>) -> Given<OrganizationName> {
    fields.parsed("name", |text| OrganizationName::try_from(text).map_err(|_| OrganizationNameError(cut(text))))
}

/// The port kinds an instance may have.
enum Kind {
    Netns,
    Tap,
}

impl Kind {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "netns" => Ok(Self::Netns),
            "tap" => Ok(Self::Tap),
            _ => Err(format!("\"{}\" is not a port kind; there are netns and tap", cut(text))),
        }
    }
}

/// The name of the host, which must be there.
fn host(fields: &mut Fields<'_>) -> Option<HostName> {
    let host = fields.parsed("host", |text| HostName::try_from(text).map_err(|_| HostNameError(cut(text))));
    host.required(fields, "host")
}

fn netns(fields: &mut Fields<'_>) -> Given<Netns> {
    fields.parsed("netns", |text| Netns::try_from(text).map_err(|_| NetnsError(cut(text))))
}

/// Who may open a tap, and how; `None` after a fault.
fn tap(fields: &mut Fields<'_>) -> Option<Tap> {
    let account = |text: &str| Account::try_from(text).map_err(|_| AccountError(cut(text)));
    let owner = fields.parsed("owner", account);
    let group = fields.parsed("group", account);
    let is_multi_queue = fields.truth("multi-queue");
    Some(Tap {
        owner: owner.unless_bad()?,
        group: group.unless_bad()?,
        is_multi_queue: is_multi_queue.unless_bad()?.unwrap_or_default(),
    })
}

/// A moment as RFC 3339 writes it; before 1970 there is nothing.
fn moment(text: &str) -> Result<Timestamp, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| format!("\"{}\" is not a date and time such as 2026-11-24T12:00:00Z", cut(text)))?;
    Ok(Timestamp::from_unix_ms(moment.as_millisecond().try_into().unwrap_or_default()))
}

fn event_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("\"{}\" is not the number of an event", cut(text)))
}

/// What it means that only some of the three address properties are given.
#[derive(PartialEq)]
enum Missing {
    /// The others have no values, so none can have one.
    IsAFault,
    /// The network may have the others; the zone knows.
    MayBeSetAlready,
}

/// The three address properties, with every rule checked for which no other value is needed.
fn range(fields: &mut Fields<'_>, missing: Missing) -> RangeFields {
    let given =
        [("start-ip", fields.address("start-ip")), ("end-ip", fields.address("end-ip")), ("netmask", fields.netmask())];
    if given.iter().any(|(_, value)| matches!(value, Given::Bad)) {
        return RangeFields::default();
    }
    let absent: Vec<_> =
        given.iter().filter(|(_, value)| matches!(value, Given::Absent)).map(|(name, _)| *name).collect();
    let [start, end, netmask] = given.map(|(_, value)| value.good());
    match (start, end, netmask) {
        (Some(start), Some(end), Some(netmask)) => {
            if let Err(error) = AddressRange::new(start, end, netmask) {
                fields.note(error.to_string());
            }
        }
        (None, None, None) => {}
        _ if missing == Missing::IsAFault => {
            fields.note(Refusal::HalfSetRange { missing: absent.join(", ") }.to_string())
        }
        _ => {}
    }
    RangeFields { start, end, netmask }
}

#[cfg(test)]
mod tests;
