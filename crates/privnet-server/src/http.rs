//! The HTTP API: connections are hyper's, what is asked and answered is `privnet-api`'s.
//!
//! Its table of endpoints is the only one: a request is routed and read there, carried out here, and
//! answered in its types. Long lists are made while they are sent, a part at a time.

mod body;
mod door;
mod events;
mod invitations;
mod list;

use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use privnet_api::exo2::Signable;
use privnet_api::{BadRequest, Call, Endpoint, Method, OPENAPI_JSON, Request, Route, RouteError, reply};
use privnet_model::zone::{Caller, Command, CreateKey, LaunchInstance, Outcome, Refusal, RefusalKind, Zone};
use privnet_model::{Driver, InstanceId, InstanceProperties, InstanceTypeId, Organization, RequestId, SignedRequest};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, error, info};

use self::body::{Body, BodyError, Octets, Room};
pub(crate) use self::door::Tls;
pub(crate) use self::invitations::Invitations;
use crate::admission::Client;
use crate::audit::Origin;
use crate::auth::{Denied, Gate, NewSecret};
use crate::catalogue::{Catalogue, ServedCatalogue};
use crate::engine::{Engine, SubmitError, now};
use crate::limits::Limits;
use crate::rate::{Buckets, Payer};

/// How much of a path is logged.
const LOGGED_PATH_CHARS_MAX: usize = 200;

/// When a client for whom there is no room should come again.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the API tells about itself, and how long it waits.
#[derive(Debug, Clone)]
pub(crate) struct HttpConfig {
    /// The name of the one zone.
    pub(crate) zone: String,
    /// The URL under which clients reach the API, without `/v2`.
    pub(crate) public_url: String,
    /// How long a mutation's answer is held back while the hosts apply it.
    pub(crate) operation_hold: Duration,
    /// What instances can be as large as and made of.
    pub(crate) catalogue: ServedCatalogue,
    /// Where the hosts go that are invited.
    pub(crate) invitations: Invitations,
}

/// Serves clients until `shutdown` resolves, and then answers the requests under way. With `tls` each connection
/// begins with it.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    engine: Engine,
    gate: Gate,
    config: HttpConfig,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let by_address = Buckets::per_second(limits.address_requests_per_second);
    let by_payer = Buckets::per_second(limits.organization_requests_per_second);
    let places = Arc::new(Semaphore::new(limits.requests_max));
    let bodies = Room::new(limits.bodies_bytes_max);
    let api = Arc::new(Api { engine, gate, config, limits, by_address, by_payer, places, bodies });
    let answer = move |source, request| respond(Arc::clone(&api), source, request);
    door::serve(listener, tls, limits, answer, shutdown).await;
}

async fn respond(api: Arc<Api>, source: IpAddr, request: hyper::Request<Incoming>) -> Response<Body> {
    let timeout = api.limits.request_timeout;
    tokio::time::timeout(timeout, respond_if_not_too_many(api, source, request)).await.unwrap_or_else(|_| {
        let message = "this takes longer than it may, and may still be done: look before you ask for it again";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    })
}

async fn respond_if_not_too_many(api: Arc<Api>, source: IpAddr, request: hyper::Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    if let Err(refused) = take_token(&api.by_address, source.into(), started) {
        body::discard(request.into_body()).await;
        debug!(%source, "a request is refused: its address makes too many");
        return refused.into_response();
    }
    let route = privnet_api::route(request.method().as_str(), request.uri().path());
    let place = if is_probe(&route) {
        None
    } else {
        let Ok(place) = Arc::clone(&api.places).try_acquire_owned() else {
            body::discard(request.into_body()).await;
            debug!(%source, "a request is refused: there are too many under way");
            return Refused::busy("the server has as many requests under way as it takes").into_response();
        };
        Some(place)
    };
    shielded(async move {
        // It is taken for as long as there is something to do, whether anybody still waits for it or not.
        let _place = place;
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.as_str(), head.uri.path());
        let operation = route.as_ref().ok().map(|route| route.endpoint.id);
        let response = match api.answer(route, source, &head, body).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        };
        let path = format_args!("{path:.LOGGED_PATH_CHARS_MAX$}");
        let duration_ms = started.elapsed().as_micros() as f64 / 1000.0;
        info!(operation, method, %path, status = response.status().as_u16(), duration_ms, "request");
        response
    })
    .await
}

/// Whether it asks how the server is, which must be told above all when there is much to do.
fn is_probe(route: &Result<Route, RouteError>) -> bool {
    route.as_ref().is_ok_and(|route| matches!(route.endpoint.call, Call::Health | Call::Readiness))
}

/// Counts a request against a rate, or says when to try again.
fn take_token<P: Eq + Hash>(buckets: &Buckets<P>, principal: P, now: Instant) -> Result<(), Refused> {
    buckets
        .take(principal, now)
        .map_err(|wait| Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many requests").retry_after(wait))
}

/// Makes an answer in a task of its own: a panic ends no more than that, and a client that goes away
/// stops nothing half way.
async fn shielded(answer: impl Future<Output = Response<Body>> + Send + 'static) -> Response<Body> {
    tokio::spawn(answer).await.unwrap_or_else(|cause| {
        error!(%cause, "a request was not answered because of a fault of the server");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the server has a fault; its log tells more").into_response()
    })
}

/// A request that is somebody's.
struct Asked {
    caller: Caller,
    /// Its body.
    octets: Octets,
    /// What tells it from others, where it is signed.
    id: Option<RequestId>,
}

struct Api {
    engine: Engine,
    gate: Gate,
    config: HttpConfig,
    limits: Limits,
    by_address: Buckets<Client>,
    by_payer: Buckets<Payer>,
    /// One for each request that may be under way.
    places: Arc<Semaphore>,
    /// What their bodies may take together.
    bodies: Room,
}

impl Api {
    async fn answer(
        &self,
        route: Result<Route, RouteError>,
        source: IpAddr,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refused> {
        let route = route?;
        let (mut origin, at) = (Origin::new(source, route.endpoint, head.uri.path()), now());
        let asked = self.asked(route.endpoint, head, body).await;
        let caller = asked.as_ref().ok().map(|asked| asked.caller);
        let answer = match asked {
            Ok(Asked { caller, octets, id }) => {
                origin.request = id.map(|id| SignedRequest { id, at });
                self.answer_to(caller, &route, &origin, head, &octets).await
            }
            Err(refused) => Err(refused),
        };
        if let Err(Refused { status, message, told, .. }) = &answer
            && (route.endpoint.method != Method::Get || *status == StatusCode::FORBIDDEN)
        {
            // An organization may read it, also where an operator was refused in its name.
            let message = told.as_deref().unwrap_or(message);
            let message = if caller.is_some() { message } else { without_quotes(message) };
            self.engine.log().refused(origin.refused(caller, status.as_u16(), message, now()));
        }
        let is_operator = caller.is_some_and(|caller| caller.is_operator());
        answer.map_err(|refused| if is_operator { refused } else { refused.for_organizations() })
    }

    /// Who asks for what.
    async fn asked(&self, endpoint: &Endpoint, head: &Parts, body: Incoming) -> Result<Asked, Refused> {
        if endpoint.access.is_none() {
            return Ok(Asked { caller: Caller::NOBODY, octets: Octets::default(), id: None });
        }
        let expects_continue = head.headers.contains_key(EXPECT);
        let claim = match self.gate.claim(&head.headers, now()) {
            Ok(claim) => claim,
            Err(denied) => {
                body::hear_out(body, expects_continue, &self.limits).await;
                return Err(denied.into());
            }
        };
        // Signed is what has come, whether the call has a use for it or not.
        let octets = body::read(body, expects_continue, &self.limits, &self.bodies).await?;
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let request = Signable { method: head.method.as_str(), path, query, body: &octets };
        let caller = claim.verify(&request, || self.engine.view(), now())?;
        if let Some(payer) = Payer::of(caller) {
            take_token(&self.by_payer, payer, Instant::now())?;
        }
        Ok(Asked { caller, octets, id: claim.request_id() })
    }

    async fn answer_to(
        &self,
        caller: Caller,
        route: &Route,
        origin: &Origin,
        head: &Parts,
        octets: &[u8],
    ) -> Result<Response<Body>, Refused> {
        if let Some(access) = route.endpoint.access {
            caller.check(access)?;
        }
        let request = privnet_api::read(route, head.uri.query().unwrap_or_default(), octets)?;
        let body = self.carry_out(request, caller, origin).await?;
        Ok(response(StatusCode::from_u16(route.endpoint.status).expect("the table has valid ones"), body))
    }

    async fn carry_out(&self, request: Request, caller: Caller, origin: &Origin) -> Result<Body, Refused> {
        let engine = &self.engine;
        Ok(match request {
            Request::ListNetworks => list::networks(engine.clone(), caller),
            Request::GetNetwork(id) => {
                let zone = engine.view();
                let network = zone.seen_by(caller).network(id).ok_or(Refusal::NetworkNotFound(id))?;
                json(&reply::PrivateNetwork::new(network, zone.ports_of_network(id).map(AsRef::as_ref)))
            }
            Request::GetOperation(id) => {
                let zone = engine.view();
                let operation = zone.seen_by(caller).operation(id).ok_or(Refusal::OperationNotFound(id))?;
                json(&reply::Operation::seen_by(caller, operation))
            }
            Request::ListZones => json(&self.zones()),
            Request::ListInstances(filter) => list::instances(engine.clone(), caller, filter),
            Request::GetInstance(id) => {
                let zone = engine.view();
                let instance = zone.seen_by(caller).instance(id).ok_or(Refusal::InstanceNotFound(id))?;
                json(&reply::Instance::new(instance, zone.ports_of_instance(id).map(AsRef::as_ref)))
            }
            Request::ListInstanceTypes => {
                let zone = engine.view();
                let used = properties_of(caller, &zone).map(|properties| properties.instance_type);
                json(&self.config.catalogue.current().types(used))
            }
            Request::GetInstanceType(id) => {
                let zone = engine.view();
                let is_used = || properties_of(caller, &zone).any(|properties| properties.instance_type == id);
                let catalogue = self.config.catalogue.current();
                json(&catalogue.type_with_id(id, is_used).ok_or_else(|| not_found("instance type", id))?)
            }
            Request::ListTemplates => json(&self.config.catalogue.current().templates()),
            Request::GetTemplate(id) => {
                let zone = engine.view();
                let is_used = || properties_of(caller, &zone).any(|properties| properties.template == id);
                let catalogue = self.config.catalogue.current();
                json(&catalogue.template_with_id(id, is_used).ok_or_else(|| not_found("template", id))?)
            }
            Request::ListSshKeys => {
                let zone = engine.view();
                let ssh_keys = zone.seen_by(caller).ssh_keys().map(|key| reply::SshKey::from(&**key)).collect();
                json(&reply::SshKeys { ssh_keys })
            }
            Request::GetSshKey(name) => {
                let zone = engine.view();
                let key = zone.seen_by(caller).ssh_key(&name).ok_or(Refusal::SshKeyNotFound(name))?;
                json(&reply::SshKey::from(&**key))
            }
            Request::ListAntiAffinityGroups => json(&reply::AntiAffinityGroups::default()),
            Request::ListSecurityGroups => json(&reply::SecurityGroups::default()),
            Request::ListElasticIps => json(&reply::ElasticIps::default()),
            Request::ListDeployTargets => json(&reply::DeployTargets::default()),
            Request::ListQuotas => json(&reply::Quotas { quotas: self.quotas(caller)?.into() }),
            Request::GetQuota(entity) => {
                let quota = self.quotas(caller)?.into_iter().find(|quota| quota.resource == entity);
                json(&quota.ok_or_else(|| not_found("quota", format_args!("\"{entity}\"")))?)
            }
            Request::ListEvents(filter) => {
                events::of_organization(engine.clone(), &filter, caller, &self.config.zone).await?
            }
            Request::ListLog(filter) => events::of_all(engine.clone(), &filter).await?,
            Request::ListHosts => {
                let zone = engine.view();
                let hosts = zone.hosts().filter(|host| caller.host().is_none_or(|own| host.id == own));
                json(&reply::Hosts { hosts: hosts.map(|host| self.host(host, &zone)).collect() })
            }
            Request::GetHost(id) => {
                let zone = engine.view();
                json(&self.host(zone.host(id).ok_or_else(|| Refusal::HostNotFound(id.to_string()))?, &zone))
            }
            Request::ListPlacedInstances => list::placed_instances(engine.clone()),
            Request::ListOrganizations => {
                let zone = engine.view();
                let organizations = zone.organizations().map(|organization| described(organization, &zone)).collect();
                json(&reply::Organizations { organizations })
            }
            Request::GetOrganization(id) => {
                let zone = engine.view();
                let organization = zone.organization(id).ok_or(Refusal::OrganizationNotFound(id))?;
                json(&described(organization, &zone))
            }
            Request::ListKeys => {
                let zone = engine.view();
                let keys = zone.seen_by(caller).keys().map(|key| reply::Key::from(&**key)).collect();
                json(&reply::Keys { keys })
            }
            Request::ListInvitations => {
                let zone = engine.view();
                let invitations = zone.invitations().map(|invitation| reply::Invitation::new(invitation, now()));
                json(&reply::Invitations { host_invitations: invitations.collect() })
            }
            Request::InviteHost(wish) => self.invite_host(origin, caller, wish).await?,
            Request::CreateKey(wish) => self.create_key(origin, caller, wish).await?,
            Request::Health => json(&reply::Health::OK),
            Request::Readiness if engine.is_ready() => json(&reply::Health::OK),
            Request::Readiness => {
                let message = "nothing can be changed now: the last change could not be made durable";
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, message));
            }
            Request::Document => Body::from(OPENAPI_JSON.as_bytes()),
            Request::Change(mut command) => {
                let catalogue = self.config.catalogue.current();
                match &mut command {
                    Command::LaunchInstance(wish) => wish.driver = driver_of(wish, &catalogue)?,
                    Command::UpdateInstance(_, wish) => {
                        wish.instance_type.map_or(Ok(()), |id| offered_type(id, &catalogue))?
                    }
                    _ => {}
                }
                self.change(origin, caller, command).await?
            }
        })
    }

    async fn change(&self, origin: &Origin, caller: Caller, command: Command) -> Result<Body, SubmitError> {
        Ok(match self.engine.submit_for(origin.clone(), caller, command).await? {
            Outcome::Operation(operation) => {
                let operation = self.engine.settled(operation, self.config.operation_hold).await;
                json(&reply::Operation::accepted(caller, &operation))
            }
            Outcome::Instance(instance) => {
                let zone = self.engine.view();
                let ports = zone.ports_of_instance(instance.id).map(AsRef::as_ref);
                json(&reply::PlacedInstance::new(&instance, host_name(&zone, &instance), ports))
            }
            Outcome::Organization(organization) => json(&described(&organization, &self.engine.view())),
            Outcome::Key(_) | Outcome::Invitation(_) | Outcome::Host(_) | Outcome::Done => Body::default(),
        })
    }

    /// The secret is told here and nowhere else.
    async fn create_key(&self, origin: &Origin, caller: Caller, wish: CreateKey) -> Result<Body, Refused> {
        let Gate::Guarded { keys, .. } = &self.gate else {
            let message = "this server verifies nothing (--insecure-no-auth), so that a key would be good for nothing";
            return Err(Refused::new(StatusCode::CONFLICT, message));
        };
        let NewSecret { id, secret, sealed_secret } = keys.new_secret().map_err(|cause| {
            error!(%cause, "cannot make a secret");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot make a secret; the server's log tells more")
        })?;
        let command = Command::CreateKey { id, sealed_secret, wish };
        match self.engine.submit_for(origin.clone(), caller, command).await? {
            Outcome::Key(key) => Ok(json(&reply::NewKey { key: reply::Key::from(&*key), secret: &secret })),
            other => unreachable!("making a key came to {other:?}"),
        }
    }

    fn zones(&self) -> reply::Zones {
        let api_endpoint = format!("{}/v2", self.config.public_url.trim_end_matches('/'));
        reply::Zones { zones: vec![reply::Zone { name: self.config.zone.clone(), api_endpoint }] }
    }

    /// The quotas of the caller's organization, which may have been deleted since its key was looked up.
    fn quotas(&self, caller: Caller) -> Result<[reply::Quota; 2], Refusal> {
        let zone = self.engine.view();
        let id = caller.organization();
        let quotas = zone.organization(id).ok_or(Refusal::OrganizationNotFound(id))?.quotas;
        let usage = zone.usage(id);
        Ok([
            reply::Quota::new("instance", usage.instances, quotas.instances),
            reply::Quota::new("private-network", usage.networks, quotas.networks),
        ])
    }

    fn host<'a>(&self, host: &'a privnet_model::Host, zone: &Zone) -> reply::Host<'a> {
        reply::Host::new(host, self.engine.is_connected(host.id), zone.instances_on(host.id).count())
    }
}

/// Who makes an instance. One that named what no list has would break clients that look it up.
fn driver_of(wish: &LaunchInstance, catalogue: &Catalogue) -> Result<Driver, Refused> {
    let template = wish.properties.template;
    offered_type(wish.properties.instance_type, catalogue)?;
    let (driver, is_offered) = catalogue.driver_of(template).ok_or_else(|| not_found("template", template))?;
    if is_offered { Ok(driver) } else { Err(withdrawn("template", template)) }
}

/// That an instance can have a type from now on.
fn offered_type(id: InstanceTypeId, catalogue: &Catalogue) -> Result<(), Refused> {
    let is_offered = catalogue.offers_type(id).ok_or_else(|| not_found("instance type", id))?;
    if is_offered { Ok(()) } else { Err(withdrawn("instance type", id)) }
}

fn withdrawn(what: &str, id: impl Display) -> Refused {
    Refused::new(StatusCode::CONFLICT, format_args!("{what} {id} is not offered any more; choose another one"))
}

/// What the caller's instances are said to be.
fn properties_of(caller: Caller, zone: &Zone) -> impl Iterator<Item = &InstanceProperties> {
    zone.seen_by(caller).instances_from(InstanceId::MIN).map(|instance| &instance.properties)
}

/// An organization with what it has.
fn described<'a>(organization: &'a Organization, zone: &Zone) -> reply::Organization<'a> {
    reply::Organization::new(organization, zone.usage(organization.id))
}

/// What a message says before it quotes something. Of a request that is nobody's that is its Authorization
/// header, and whoever misspells that may have put the secret there.
fn without_quotes(message: &str) -> &str {
    message.split_once('"').map_or(message, |(before, _)| before).trim_end()
}

/// What the lists have not.
fn not_found(what: &str, which: impl std::fmt::Display) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format_args!("{what} {which} not found"))
}

/// The name of an instance's host; empty where both are gone since the instance was looked up.
fn host_name<'a>(zone: &'a Zone, instance: &privnet_model::Instance) -> &'a str {
    zone.host(instance.host).map_or("", |host| host.name.as_str())
}

fn json(reply: &impl Serialize) -> Body {
    Body::from(serde_json::to_vec(reply).expect("replies have only texts, numbers and lists of them"))
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    response
}

/// Why a request is refused, as HTTP says it.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
    /// What organizations read in its place, where it is about what they do not see.
    told: Option<Box<str>>,
    /// What the status asks for beside the message.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refused {
    fn new(status: StatusCode, message: impl ToString) -> Self {
        Self { status, message: message.to_string(), told: None, header: None }
    }

    /// As organizations read it.
    fn for_organizations(self) -> Self {
        match self.told {
            Some(message) => Self { message: message.into(), told: None, ..self },
            None => self,
        }
    }

    /// There is no room now, and will be soon.
    fn busy(message: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(BUSY_RETRY_AFTER)
    }

    /// Says when to try again, in whole seconds (RFC 9110 §10.2.3).
    fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { header: Some((RETRY_AFTER, seconds.into())), ..self }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = response(self.status, json(&reply::Error { message: self.message }));
        response.headers_mut().extend(self.header);
        response
    }
}

impl From<RouteError> for Refused {
    fn from(error: RouteError) -> Self {
        match &error {
            RouteError::UnknownPath | RouteError::UnknownAction { .. } => Self::new(StatusCode::NOT_FOUND, error),
            RouteError::WrongMethod { allowed, .. } => {
                let allow = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
                let header = HeaderValue::from_str(&allow).ok().map(|allow| (ALLOW, allow));
                Self { header, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
            }
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::Fault(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::NoRoom => return Self::busy(error),
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

impl From<BadRequest> for Refused {
    fn from(error: BadRequest) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind() {
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::Invalid => StatusCode::BAD_REQUEST,
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
        };
        let told = refusal.for_organizations().map(|refusal| refusal.to_string().into());
        Self { told, ..Self::new(status, refusal) }
    }
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::Busy => Self::busy(error),
            SubmitError::Unavailable(_) => {
                let told = "nothing can be changed now; the same request may succeed later".into();
                Self { told: Some(told), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_as_a_fault() {
        let response = shielded(async { panic!("as the test wants it") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"message":"the server has a fault; its log tells more"}"#);
    }
}
