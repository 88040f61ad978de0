use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use privnet_api::exo2::Signable;
use privnet_api::{Credentials, FirstCredentials, Signer};
use serde_json::{Value, json};
use ureq::http::{Method, Request};
use ureq::{Agent, SendBody};

use crate::interrupt::wait_for;

/// An answer that takes longer than this will not come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An operation ends at the server's deadline at the latest.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(120);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// The HTTP API of a lab's server, as its operator uses it. Cheap to clone, usable from many threads.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    base: String,
    identity: Arc<Identity>,
}

/// What requests are signed with, as soon as the server has made it.
#[derive(Debug)]
struct Identity {
    file: PathBuf,
    signer: OnceLock<Signer>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The JSON; null if there is none.
    pub body: Value,
}

impl Reply {
    /// The body of an answer that says yes.
    ///
    /// # Errors
    /// The status is none of success; the message quotes the answer.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("the API answers {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

impl Api {
    /// The API at this URL, such as `http://127.0.0.1:8080`, of the server with this data folder.
    pub fn new(base: impl Into<String>, data_dir: &Path) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .proxy(None)
            // A server that is killed and started again leaves dead connections behind.
            .max_idle_connections(0)
            .build();
        let identity = Identity { file: data_dir.join(FirstCredentials::FILE), signer: OnceLock::new() };
        Self { agent: config.into(), base: base.into(), identity: Arc::new(identity) }
    }

    /// The same API, for whoever has this key.
    ///
    /// # Errors
    /// The key's secret is empty, or there is no memory for it.
    pub fn with_key(&self, credentials: &Credentials) -> Result<Self> {
        let signer = OnceLock::from(Signer::new(credentials)?);
        Ok(Self { identity: Arc::new(Identity { file: PathBuf::new(), signer }), ..self.clone() })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Sends one request. A refusal is an answer, not an error.
    ///
    /// # Errors
    /// There is no answer, or it is not JSON.
    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let what = || format!("{method} {}{path}", self.base);
        let text = body.map(Value::to_string);
        let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = self.authorization(method.as_str(), path, text.as_deref().unwrap_or_default())? {
            request = request.header("authorization", authorization);
        }
        let response = match text {
            Some(text) => {
                let request = request.header("content-type", "application/json").body(text);
                self.agent.run(request.with_context(what)?)
            }
            None => self.agent.run(request.body(SendBody::none()).with_context(what)?),
        };
        let response = response.with_context(what)?;
        let status = response.status().as_u16();
        let text = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec().with_context(what)?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_slice(&text).with_context(what)? };
        Ok(Reply { status, body })
    }

    /// What the request's `Authorization` header is to say; nothing before the server has made keys.
    ///
    /// # Errors
    /// The server's file of keys cannot be read, or the request not be signed.
    pub fn authorization(&self, method: &str, path: &str, body: &str) -> Result<Option<String>> {
        let Some(signer) = self.identity.signer()? else { return Ok(None) };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Signable { method, path, query, body: body.as_bytes() };
        Ok(Some(signer.authorization(&request, SystemTime::now())?))
    }

    /// The answer to a GET that says yes.
    ///
    /// # Errors
    /// As [`request`](Self::request), or a refusal.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request(Method::GET, path, None)?.ok()
    }

    /// Sends a mutation and waits until its operation has ended. Returns the operation, `success` or not.
    ///
    /// # Errors
    /// As [`request`](Self::request), a refusal, or the operation does not end.
    pub fn operate(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let accepted = self.request(method, path, body)?.ok()?;
        self.end_of(accepted)
    }

    /// Waits until an operation has ended.
    ///
    /// # Errors
    /// It does not end, or its end cannot be learnt.
    pub fn end_of(&self, operation: Value) -> Result<Value> {
        if operation["state"] != "pending" {
            return Ok(operation);
        }
        let path = format!("/v2/operation/{}", text(&operation, "id")?);
        wait_for(
            || format!("operation {operation} did not end"),
            OPERATION_TIMEOUT,
            || {
                let now = self.get(&path)?;
                Ok((now["state"] != "pending").then_some(now))
            },
        )
    }

    /// Lets the organization `default` have as much as it likes.
    ///
    /// # Errors
    /// It is refused.
    pub fn lift_quotas(&self) -> Result<()> {
        let listed = self.get("/privnet/v1/organizations")?;
        let mut organizations = listed["organizations"].as_array().into_iter().flatten();
        let default = organizations.find(|organization| organization["name"] == "default");
        let path = format!("/privnet/v1/organizations/{}", text(default.context("no organization default")?, "id")?);
        let body = json!({"quotas": {"networks": -1, "ports-per-network": -1, "instances": -1}});
        self.request(Method::PUT, &path, Some(&body))?.ok().map(drop)
    }

    /// Makes a network and returns its id.
    ///
    /// # Errors
    /// It is refused, or its operation does not succeed.
    pub fn create_network(&self, body: &Value) -> Result<String> {
        let operation = succeeded(self.operate(Method::POST, "/v2/private-network", Some(body))?)?;
        text(&operation["reference"], "id")
    }

    /// Attaches an instance and returns the address it got, if any.
    ///
    /// # Errors
    /// It is refused, or its operation does not succeed.
    pub fn attach(&self, network: &str, instance: &str, ip: Option<&str>) -> Result<Option<String>> {
        self.port_action(network, "attach", instance, ip)?;
        self.lease(network, instance)
    }

    /// Detaches an instance.
    ///
    /// # Errors
    /// It is refused, or its operation does not succeed.
    pub fn detach(&self, network: &str, instance: &str) -> Result<()> {
        self.port_action(network, "detach", instance, None)
    }

    /// Changes the address of an instance; without `ip` it gets one of the range.
    ///
    /// # Errors
    /// It is refused, or its operation does not succeed.
    pub fn update_ip(&self, network: &str, instance: &str, ip: Option<&str>) -> Result<()> {
        self.port_action(network, "update-ip", instance, ip)
    }

    /// Deletes a network.
    ///
    /// # Errors
    /// It is refused, or its operation does not succeed.
    pub fn delete_network(&self, network: &str) -> Result<()> {
        succeeded(self.operate(Method::DELETE, &format!("/v2/private-network/{network}"), None)?).map(drop)
    }

    /// The address that an instance has leased in a network.
    ///
    /// # Errors
    /// The network cannot be read.
    pub fn lease(&self, network: &str, instance: &str) -> Result<Option<String>> {
        let network = self.get(&format!("/v2/private-network/{network}"))?;
        let leases = network["leases"].as_array().into_iter().flatten();
        let lease = leases.filter(|lease| lease["instance-id"] == instance).find_map(|lease| lease["ip"].as_str());
        Ok(lease.map(str::to_owned))
    }

    fn port_action(&self, network: &str, action: &str, instance: &str, ip: Option<&str>) -> Result<()> {
        let mut body = json!({"instance": {"id": instance}});
        if let Some(ip) = ip {
            body["ip"] = ip.into();
        }
        let path = format!("/v2/private-network/{network}:{action}");
        succeeded(self.operate(Method::PUT, &path, Some(&body))?).map(drop)
    }
}

impl Identity {
    fn signer(&self) -> Result<Option<&Signer>> {
        if let Some(known) = self.signer.get() {
            return Ok(Some(known));
        }
        let json = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read,
        };
        let what = || format!("cannot use {}", self.file.display());
        let first: FirstCredentials = serde_json::from_slice(&json.with_context(what)?).with_context(what)?;
        let signer = Signer::new(&first.operator)?;
        Ok(Some(self.signer.get_or_init(|| signer)))
    }
}

/// An operation that has ended in success.
pub(crate) fn succeeded(operation: Value) -> Result<Value> {
    match operation["state"].as_str() {
        Some("success") => Ok(operation),
        _ => bail!("the operation did not succeed: {operation}"),
    }
}

/// A text property that must be there.
pub(crate) fn text(object: &Value, key: &str) -> Result<String> {
    object[key].as_str().map(str::to_owned).with_context(|| format!("no \"{key}\" in {object}"))
}
