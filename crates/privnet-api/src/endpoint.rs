use std::fmt;

use privnet_model::zone::Access;
use schemars::{Schema, SchemaGenerator};

use crate::body::{
    AttachDevice, AttachInstance, CreateInstance, CreateKey, CreateOrganization, CreatePrivateNetwork, DetachInstance,
    InviteHost, LaunchInstance, MoveInstance, RegisterSshKey, ResizeInstanceDisk, ScaleInstance, UpdateInstance,
    UpdateIp, UpdateOrganization, UpdatePrivateNetwork,
};
use crate::reply::{
    AntiAffinityGroups, DeployTargets, ElasticIps, Event, Health, Host, Hosts, Instance, InstanceType, InstanceTypes,
    Instances, Invitations, Keys, LogEntries, NewInvitation, NewKey, Operation, Organization, Organizations,
    PlacedInstance, PlacedInstances, PrivateNetwork, PrivateNetworks, Quota, Quotas, SecurityGroups, SshKey, SshKeys,
    Template, Templates, Zones,
};

/// One operation of the API.
#[derive(Debug)]
pub struct Endpoint {
    /// Which it is, for matches that must name them all.
    pub call: Call,
    /// Its `operationId`, which names it in logs as well.
    pub id: &'static str,
    /// The method it takes.
    pub method: Method,
    /// The path, with parameters in braces; a parameter never contains a colon.
    pub path: &'static str,
    /// What its caller must be; `None`: anybody, without a key.
    pub access: Option<Access>,
    /// A line for people.
    pub summary: &'static str,
    /// The arguments of the query that are read.
    pub query: &'static [&'static str],
    /// The schema of the body; `None` where a body is ignored.
    pub request: Option<SchemaOf>,
    /// The status of success.
    pub status: u16,
    /// The schema of the answer; `None` where it has no body.
    pub reply: Option<SchemaOf>,
    /// The statuses it may refuse with, beside those that every request may get.
    pub refusals: &'static [u16],
}

/// Makes a type's schema.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The operations of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table says what each one does")]
pub enum Call {
    ListPrivateNetworks,
    CreatePrivateNetwork,
    GetPrivateNetwork,
    UpdatePrivateNetwork,
    DeletePrivateNetwork,
    ResetPrivateNetworkField,
    AttachInstance,
    DetachInstance,
    UpdateInstanceIp,
    GetOperation,
    ListZones,
    ListInstances,
    LaunchInstance,
    GetInstance,
    UpdateInstance,
    ScaleInstance,
    ResizeInstanceDisk,
    EnableTpm,
    DestroyInstance,
    ResetInstanceField,
    StartInstance,
    StopInstance,
    RebootInstance,
    AddInstanceProtection,
    RemoveInstanceProtection,
    ListInstanceTypes,
    GetInstanceType,
    ListTemplates,
    GetTemplate,
    ListSshKeys,
    RegisterSshKey,
    GetSshKey,
    DeleteSshKey,
    ListAntiAffinityGroups,
    ListSecurityGroups,
    ListElasticIps,
    ListDeployTargets,
    ListQuotas,
    GetQuota,
    ListEvents,
    ListHosts,
    GetHost,
    RemoveHost,
    RemoveHostWithInstances,
    ListInvitations,
    InviteHost,
    RevokeInvitation,
    ListPlacedInstances,
    CreateInstance,
    AttachDevice,
    MoveInstance,
    DeleteInstance,
    ListLog,
    ListOrganizations,
    CreateOrganization,
    GetOrganization,
    UpdateOrganization,
    DeleteOrganization,
    ListKeys,
    CreateKey,
    RevokeKey,
    Health,
    Readiness,
    Document,
}

/// The methods that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "RFC 9110 §9.3 says what they do")]
pub enum Method {
    Delete,
    Get,
    /// Answered as GET is, at the same paths.
    Head,
    Post,
    Put,
}

impl Method {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every operation, each once, in the order of [`Call`].
pub static ENDPOINTS: [Endpoint; 64] = [
    get(Call::ListPrivateNetworks, "list-private-networks", "/v2/private-network")
        .says("List private networks")
        .answers(SchemaGenerator::subschema_for::<PrivateNetworks<'static>>),
    mutation(Call::CreatePrivateNetwork, "create-private-network", Method::Post, "/v2/private-network")
        .says("Create a private network")
        .reads(SchemaGenerator::subschema_for::<CreatePrivateNetwork>)
        .refuses(&[400, 409]),
    get(Call::GetPrivateNetwork, "get-private-network", "/v2/private-network/{id}")
        .says("Show a private network")
        .answers(SchemaGenerator::subschema_for::<PrivateNetwork<'static>>)
        .refuses(&[400, 404]),
    mutation(Call::UpdatePrivateNetwork, "update-private-network", Method::Put, "/v2/private-network/{id}")
        .says("Change the properties of a private network that are given; options and labels are replaced whole")
        .reads(SchemaGenerator::subschema_for::<UpdatePrivateNetwork>)
        .refuses(&[400, 404, 409]),
    mutation(Call::DeletePrivateNetwork, "delete-private-network", Method::Delete, "/v2/private-network/{id}")
        .says("Delete a private network that no instance is attached to")
        .refuses(&[400, 404, 409]),
    mutation(
        Call::ResetPrivateNetworkField,
        "reset-private-network-field",
        Method::Delete,
        "/v2/private-network/{id}/{field}",
    )
    .says("Empty a property of a private network")
    .refuses(&[400, 404]),
    mutation(
        Call::AttachInstance,
        "attach-instance-to-private-network",
        Method::Put,
        "/v2/private-network/{id}:attach",
    )
    .needs(Access::Attach)
    .says("Attach an instance to a private network, with a static address or one of the range")
    .reads(SchemaGenerator::subschema_for::<AttachInstance>)
    .refuses(&[400, 404, 409]),
    mutation(
        Call::DetachInstance,
        "detach-instance-from-private-network",
        Method::Put,
        "/v2/private-network/{id}:detach",
    )
    .needs(Access::Attach)
    .says("Detach an instance from a private network")
    .reads(SchemaGenerator::subschema_for::<DetachInstance>)
    .refuses(&[400, 404]),
    mutation(
        Call::UpdateInstanceIp,
        "update-private-network-instance-ip",
        Method::Put,
        "/v2/private-network/{id}:update-ip",
    )
    .needs(Access::Attach)
    .says("Give an attached instance another static address or, without ip, one of the range")
    .reads(SchemaGenerator::subschema_for::<UpdateIp>)
    .refuses(&[400, 404, 409]),
    get(Call::GetOperation, "get-operation", "/v2/operation/{id}")
        .says("Show how far an operation is")
        .answers(SchemaGenerator::subschema_for::<Operation<'static>>)
        .refuses(&[400, 404]),
    get(Call::ListZones, "list-zones", "/v2/zone")
        .needs_no_key()
        .says("List zones: this one, with the URL of its API")
        .answers(SchemaGenerator::subschema_for::<Zones>),
    get(Call::ListInstances, "list-instances", "/v2/instance")
        .says("List instances, those that all arguments of the query fit")
        .asks(&["manager-id", "manager-type", "ip-address", "labels"])
        .answers(SchemaGenerator::subschema_for::<Instances<'static>>)
        .refuses(&[400]),
    mutation(Call::LaunchInstance, "create-instance", Method::Post, "/v2/instance")
        .says("Create an instance on the host with the fewest or, for an operator, on the one that its label privnet/host names")
        .reads(SchemaGenerator::subschema_for::<LaunchInstance>)
        .refuses(&[400, 404, 409]),
    get(Call::GetInstance, "get-instance", "/v2/instance/{id}")
        .says("Show an instance")
        .answers(SchemaGenerator::subschema_for::<Instance<'static>>)
        .refuses(&[400, 404]),
    mutation(Call::UpdateInstance, "update-instance", Method::Put, "/v2/instance/{id}")
        .says("Change the properties of an instance that are given; labels are replaced whole")
        .reads(SchemaGenerator::subschema_for::<UpdateInstance>)
        .refuses(&[400, 404]),
    mutation(Call::ScaleInstance, "scale-instance", Method::Put, "/v2/instance/{id}:scale")
        .says("Change the type of an instance")
        .reads(SchemaGenerator::subschema_for::<ScaleInstance>)
        .refuses(&[400, 404, 409]),
    mutation(Call::ResizeInstanceDisk, "resize-instance-disk", Method::Put, "/v2/instance/{id}:resize-disk")
        .says("Change the disk size of an instance to one that is not less")
        .reads(SchemaGenerator::subschema_for::<ResizeInstanceDisk>)
        .refuses(&[400, 404, 409]),
    mutation(Call::EnableTpm, "enable-tpm", Method::Post, "/v2/instance/{id}:enable-tpm")
        .says("Have an instance shown with a TPM")
        .refuses(&[400, 404]),
    mutation(Call::DestroyInstance, "delete-instance", Method::Delete, "/v2/instance/{id}")
        .needs(Access::Attach)
        .says("Detach an instance from all private networks and delete it, unless it is protected")
        .refuses(&[400, 404, 409]),
    mutation(Call::ResetInstanceField, "reset-instance-field", Method::Delete, "/v2/instance/{id}/{field}")
        .says("Empty a property of an instance")
        .refuses(&[400, 404]),
    mutation(Call::StartInstance, "start-instance", Method::Put, "/v2/instance/{id}:start")
        .says("Plug the instance's ports in")
        .refuses(&[400, 404]),
    mutation(Call::StopInstance, "stop-instance", Method::Put, "/v2/instance/{id}:stop")
        .says("Unplug the instance's ports; its MAC addresses and leases stay")
        .refuses(&[400, 404]),
    mutation(Call::RebootInstance, "reboot-instance", Method::Put, "/v2/instance/{id}:reboot")
        .says("Unplug the instance's ports and plug them in anew")
        .refuses(&[400, 404, 409]),
    mutation(Call::AddInstanceProtection, "add-instance-protection", Method::Put, "/v2/instance/{id}:add-protection")
        .says("Keep an instance from being deleted")
        .refuses(&[400, 404]),
    mutation(
        Call::RemoveInstanceProtection,
        "remove-instance-protection",
        Method::Put,
        "/v2/instance/{id}:remove-protection",
    )
    .says("Let an instance be deleted")
    .refuses(&[400, 404]),
    get(Call::ListInstanceTypes, "list-instance-types", "/v2/instance-type")
        .says("List instance types")
        .answers(SchemaGenerator::subschema_for::<InstanceTypes<'static>>),
    get(Call::GetInstanceType, "get-instance-type", "/v2/instance-type/{id}")
        .says("Show an instance type")
        .answers(SchemaGenerator::subschema_for::<InstanceType<'static>>)
        .refuses(&[400, 404]),
    get(Call::ListTemplates, "list-templates", "/v2/template")
        .says("List templates")
        .answers(SchemaGenerator::subschema_for::<Templates<'static>>),
    get(Call::GetTemplate, "get-template", "/v2/template/{id}")
        .says("Show a template")
        .answers(SchemaGenerator::subschema_for::<Template<'static>>)
        .refuses(&[400, 404]),
    get(Call::ListSshKeys, "list-ssh-keys", "/v2/ssh-key")
        .says("List SSH keys")
        .answers(SchemaGenerator::subschema_for::<SshKeys>),
    mutation(Call::RegisterSshKey, "register-ssh-key", Method::Post, "/v2/ssh-key")
        .says("Register a public SSH key under a name, for instances to be created with")
        .reads(SchemaGenerator::subschema_for::<RegisterSshKey>)
        .refuses(&[400, 409, 413]),
    get(Call::GetSshKey, "get-ssh-key", "/v2/ssh-key/{name}")
        .says("Show an SSH key")
        .answers(SchemaGenerator::subschema_for::<SshKey>)
        .refuses(&[400, 404]),
    mutation(Call::DeleteSshKey, "delete-ssh-key", Method::Delete, "/v2/ssh-key/{name}")
        .says("Forget an SSH key; instances that were created with it keep its name")
        .refuses(&[400, 404]),
    get(Call::ListAntiAffinityGroups, "list-anti-affinity-groups", "/v2/anti-affinity-group")
        .says("List anti-affinity groups: there are none")
        .answers(SchemaGenerator::subschema_for::<AntiAffinityGroups>),
    get(Call::ListSecurityGroups, "list-security-groups", "/v2/security-group")
        .says("List security groups: there are none")
        .answers(SchemaGenerator::subschema_for::<SecurityGroups>),
    get(Call::ListElasticIps, "list-elastic-ips", "/v2/elastic-ip")
        .says("List elastic IPs: there are none")
        .answers(SchemaGenerator::subschema_for::<ElasticIps>),
    get(Call::ListDeployTargets, "list-deploy-targets", "/v2/deploy-target")
        .says("List deploy targets: there are none")
        .answers(SchemaGenerator::subschema_for::<DeployTargets>),
    get(Call::ListQuotas, "list-quotas", "/v2/quota")
        .says("List how many there are of what, and how many there may be")
        .answers(SchemaGenerator::subschema_for::<Quotas>),
    get(Call::GetQuota, "get-quota", "/v2/quota/{entity}")
        .says("Show how many there are of something, and how many there may be")
        .answers(SchemaGenerator::subschema_for::<Quota>)
        .refuses(&[404]),
    get(Call::ListEvents, "list-events", "/v2/event")
        .asks(&["from", "to"])
        .says("List who has changed what, and was refused to, of the last 24 hours or between two moments; the newest 1,000")
        .answers(SchemaGenerator::subschema_for::<Vec<Event<'static>>>)
        .refuses(&[400]),
    get(Call::ListHosts, "list-hosts", "/privnet/v1/hosts")
        .needs(Access::Place)
        .says("List hosts; a container runtime sees its own")
        .answers(SchemaGenerator::subschema_for::<Hosts<'static>>),
    get(Call::GetHost, "get-host", "/privnet/v1/hosts/{id}")
        .needs(Access::Operator)
        .says("Show a host")
        .answers(SchemaGenerator::subschema_for::<Host<'static>>)
        .refuses(&[400, 404]),
    removal(Call::RemoveHost, "remove-host", "/privnet/v1/hosts/{id}")
        .says("Forget a host that has no instances; what it still carries counts as gone"),
    removal(Call::RemoveHostWithInstances, "remove-host-with-instances", "/privnet/v1/hosts/{id}:with-instances")
        .says("Forget a host that is gone for good, with its instances, their ports and leases")
        .refuses(&[400, 404]),
    get(Call::ListInvitations, "list-host-invitations", "/privnet/v1/host-invitations")
        .needs(Access::Operator)
        .says("List the invitations of hosts; without their tokens")
        .answers(SchemaGenerator::subschema_for::<Invitations<'static>>),
    Endpoint {
        status: 201,
        ..mutation(Call::InviteHost, "invite-host", Method::Post, "/privnet/v1/host-invitations")
            .needs(Access::Operator)
            .says("Invite a machine to join as a host; the token, with which it joins once, is told this once")
            .reads(SchemaGenerator::subschema_for::<InviteHost>)
            .answers(SchemaGenerator::subschema_for::<NewInvitation<'static>>)
            .refuses(&[400, 404, 409])
    },
    removal(Call::RevokeInvitation, "revoke-host-invitation", "/privnet/v1/host-invitations/{id}")
        .says("Make an invitation good for nothing from now on")
        .refuses(&[400, 404]),
    get(Call::ListPlacedInstances, "list-placed-instances", "/privnet/v1/instances")
        .needs(Access::Operator)
        .says("List instances with their host and placement")
        .answers(SchemaGenerator::subschema_for::<PlacedInstances<'static>>),
    Endpoint {
        status: 201,
        ..mutation(Call::CreateInstance, "create-placed-instance", Method::Post, "/privnet/v1/instances")
            .needs(Access::Place)
            .says("Register an instance that exists on a host")
            .reads(SchemaGenerator::subschema_for::<CreateInstance>)
            .answers(SchemaGenerator::subschema_for::<PlacedInstance<'static>>)
            .refuses(&[400, 404, 409])
    },
    mutation(
        Call::AttachDevice,
        "attach-instance-by-device",
        Method::Put,
        "/privnet/v1/private-networks/{id}:attach",
    )
    .needs(Access::Attach)
    .says("Attach an instance to a private network by a device of a given name, which its host configures if asked to")
    .reads(SchemaGenerator::subschema_for::<AttachDevice>)
    .refuses(&[400, 404, 409]),
    mutation(Call::MoveInstance, "move-placed-instance", Method::Put, "/privnet/v1/instances/{id}:move")
        .needs(Access::Operator)
        .says("Place an instance on another host, or elsewhere on its own, with all its ports")
        .reads(SchemaGenerator::subschema_for::<MoveInstance>)
        .refuses(&[400, 404]),
    removal(Call::DeleteInstance, "delete-placed-instance", "/privnet/v1/instances/{id}")
        .says("Forget an instance that is attached to no private network"),
    get(Call::ListLog, "list-audit-log", "/privnet/v1/events")
        .needs(Access::Operator)
        .asks(&["from", "to", "organization", "key", "before"])
        .says("List who has changed what, of all organizations, and whose requests were nobody's; as list-events. `before`, the number of an event, asks for those before it")
        .answers(SchemaGenerator::subschema_for::<LogEntries<'static>>)
        .refuses(&[400]),
    get(Call::ListOrganizations, "list-organizations", "/privnet/v1/organizations")
        .needs(Access::Operator)
        .says("List organizations with their quotas and what they have")
        .answers(SchemaGenerator::subschema_for::<Organizations<'static>>),
    Endpoint {
        status: 201,
        ..mutation(Call::CreateOrganization, "create-organization", Method::Post, "/privnet/v1/organizations")
            .needs(Access::Operator)
            .says("Create an organization; quotas that are not given are those of every new one")
            .reads(SchemaGenerator::subschema_for::<CreateOrganization>)
            .answers(SchemaGenerator::subschema_for::<Organization<'static>>)
            .refuses(&[400, 409])
    },
    get(Call::GetOrganization, "get-organization", "/privnet/v1/organizations/{id}")
        .needs(Access::Operator)
        .says("Show an organization with its quotas and what it has")
        .answers(SchemaGenerator::subschema_for::<Organization<'static>>)
        .refuses(&[400, 404]),
    mutation(Call::UpdateOrganization, "update-organization", Method::Put, "/privnet/v1/organizations/{id}")
        .needs(Access::Operator)
        .says("Change the name and the quotas of an organization that are given")
        .reads(SchemaGenerator::subschema_for::<UpdateOrganization>)
        .answers(SchemaGenerator::subschema_for::<Organization<'static>>)
        .refuses(&[400, 404, 409]),
    removal(Call::DeleteOrganization, "delete-organization", "/privnet/v1/organizations/{id}")
        .says("Delete an organization that has no private networks and no instances, with its keys"),
    get(Call::ListKeys, "list-keys", "/privnet/v1/keys")
        .needs(Access::Admin)
        .says("List the keys of the caller's organization or, for an operator, all keys; without their secrets")
        .answers(SchemaGenerator::subschema_for::<Keys<'static>>),
    Endpoint {
        status: 201,
        ..mutation(Call::CreateKey, "create-key", Method::Post, "/privnet/v1/keys")
            .says("Create a key for an organization or, as an operator, for an operator; its secret is told this once")
            .reads(SchemaGenerator::subschema_for::<CreateKey>)
            .answers(SchemaGenerator::subschema_for::<NewKey<'static>>)
            .refuses(&[400, 404, 409])
    },
    removal(Call::RevokeKey, "revoke-key", "/privnet/v1/keys/{key}")
        .needs(Access::Admin)
        .says("Make a key good for nothing from now on"),
    get(Call::Health, "get-health", "/healthz")
        .needs_no_key()
        .says("Whether the process answers")
        .answers(SchemaGenerator::subschema_for::<Health>),
    get(Call::Readiness, "get-readiness", "/readyz")
        .needs_no_key()
        .says("Whether requests can be served, changes among them")
        .answers(SchemaGenerator::subschema_for::<Health>),
    get(Call::Document, "get-openapi-document", "/v2/openapi.json")
        .needs_no_key()
        .says("This document")
        .answers(any_object),
];

const fn get(call: Call, id: &'static str, path: &'static str) -> Endpoint {
    Endpoint {
        call,
        id,
        method: Method::Get,
        path,
        access: Some(Access::Read),
        summary: "",
        query: &[],
        request: None,
        status: 200,
        reply: None,
        refusals: &[],
    }
}

const fn mutation(call: Call, id: &'static str, method: Method, path: &'static str) -> Endpoint {
    let reply: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<Operation<'static>>);
    Endpoint { method, reply, access: Some(Access::Admin), ..get(call, id, path) }
}

const fn removal(call: Call, id: &'static str, path: &'static str) -> Endpoint {
    let refusals = &[400, 404, 409];
    Endpoint { method: Method::Delete, status: 204, refusals, access: Some(Access::Operator), ..get(call, id, path) }
}

impl Endpoint {
    const fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn needs(self, access: Access) -> Self {
        Self { access: Some(access), ..self }
    }

    const fn needs_no_key(self) -> Self {
        Self { access: None, ..self }
    }

    const fn asks(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn reads(self, schema: SchemaOf) -> Self {
        Self { request: Some(schema), ..self }
    }

    const fn answers(self, schema: SchemaOf) -> Self {
        Self { reply: Some(schema), ..self }
    }

    const fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object", "additionalProperties": true})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_every_call_once_and_in_order() {
        for (index, endpoint) in ENDPOINTS.iter().enumerate() {
            assert_eq!(endpoint.call as usize, index, "{}", endpoint.id);
            assert!(!endpoint.summary.is_empty(), "{}", endpoint.id);
        }
        assert_eq!(ENDPOINTS.len(), Call::Document as usize + 1);
    }

    #[test]
    fn what_needs_no_key_takes_nothing_and_tells_of_no_records() {
        let open = ENDPOINTS.iter().filter(|endpoint| endpoint.access.is_none());
        for endpoint in open.clone() {
            assert!(endpoint.method == Method::Get && !endpoint.path.contains('{'), "{}", endpoint.id);
        }
        let ids: Vec<_> = open.map(|endpoint| endpoint.id).collect();
        assert_eq!(ids, ["list-zones", "get-health", "get-readiness", "get-openapi-document"]);
    }

    /// Go's and Python's clients read JSON from every answer that is no refusal (contract §2.1, 2.4).
    #[test]
    fn no_answer_under_v2_is_empty() {
        for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path.starts_with("/v2/")) {
            assert!(endpoint.status == 200 && endpoint.reply.is_some(), "{}", endpoint.id);
        }
    }

    #[test]
    fn ids_and_routes_are_unique() {
        assert_eq!(ENDPOINTS.iter().map(|e| e.id).collect::<BTreeSet<_>>().len(), ENDPOINTS.len());
        assert_eq!(ENDPOINTS.iter().map(|e| (e.method, e.path)).collect::<BTreeSet<_>>().len(), ENDPOINTS.len());
    }

    #[test]
    fn the_mutations_are_named_as_their_operations_are() {
        let ids: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.id).collect();
        for kind in privnet_model::OperationKind::ALL {
            assert!(ids.contains(kind.as_str()), "{}", kind.as_str());
        }
    }
}
