//! A client of the HTTP API, for the commands that are one or two requests.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use privnet_tls::tls_error;
use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, Body, SendBody};

use crate::exit::{Exit, Failure};
use crate::identity::Identity;
use crate::settings::{BaseUrl, Settings};
use crate::tls::TlsConnector;

/// A request that gets no answer within this is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read: a list of a million networks is smaller.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// An operation ends at the server's deadline at the latest; after this, something is wrong.
const OPERATION_WAIT_MAX: Duration = Duration::from_secs(180);

/// Between two looks at a pending operation: at first, and at most.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_millis(500);

/// Whoever waits longer than this is told what for.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// A connection to one API.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    identity: Identity,
}

impl Client {
    /// A client of the API at the `api-url` setting. Connects at the first request.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Failure> {
        let BaseUrl(base) = settings.require("api-url")?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .proxy(None)
            .user_agent(concat!("privnet/", env!("CARGO_PKG_VERSION")))
            .build();
        let identity = Identity::of(settings, &base)?;
        let connector = TcpConnector::default().chain(TlsConnector::of(settings, &base)?);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self { agent, base, identity })
    }

    /// The answer to a GET.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None)
    }

    /// The answer to a request; `path` starts with a slash.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or answers with something that is not JSON.
    pub(crate) fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let text = body.map(Value::to_string);
        let authorization = self.identity.authorization(&method, path, text.as_deref().unwrap_or_default())?;
        let response = self.send(method, path, text, authorization).map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let text = response
            .into_body()
            .into_with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.unreachable(error))?;
        if status == StatusCode::FORBIDDEN {
            return Err(Failure::say(Exit::Failure, format_args!("{} ({})", message(status, &text), self.identity)));
        }
        if !status.is_success() {
            return Err(refusal(status, &text));
        }
        // An answer without content, such as 204 to a DELETE, says all by its status.
        if text.is_empty() {
            return Ok(Value::Null);
        }
        let what = || format!("{}{path} answers with something that is not JSON; is it a privnet server?", self.base);
        Ok(serde_json::from_slice(&text).with_context(what)?)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        text: Option<String>,
        authorization: Option<String>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        match text {
            Some(text) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(text).map_err(ureq::Error::Http)?)
            }
            None => self.agent.run(request.body(SendBody::none()).map_err(ureq::Error::Http)?),
        }
    }

    fn unreachable(&self, error: ureq::Error) -> Failure {
        if let ureq::Error::Io(cause) = &error
            && tls_error(cause).is_some()
        {
            let what = format!("cannot speak TLS with the API at {}", self.base);
            return Failure::new(Exit::Unavailable, anyhow::Error::new(error).context(what));
        }
        let what = format!("cannot reach the API at {} (is `privnet server` running there? see --api-url)", self.base);
        Failure::new(Exit::Unavailable, anyhow::Error::new(error).context(what))
    }

    /// Waits until an operation has ended, and tells on standard error when that takes long.
    ///
    /// # Errors
    /// It ended in failure or timeout, or its end cannot be learnt.
    pub(crate) fn wait(&self, mut operation: Value) -> Result<Value, Failure> {
        let id = text(&operation, "id").to_owned();
        let mut progress = Progress::new(format!("operation {id} is pending"));
        let mut pause = POLL_FIRST;
        while text(&operation, "state") == "pending" {
            progress.tick()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL_MAX);
            operation = self.get(&format!("/v2/operation/{id}"))?;
        }
        progress.end();
        match text(&operation, "state") {
            "success" => Ok(operation),
            state => {
                let message = text(&operation, "message");
                let colon = if message.is_empty() { "" } else { ": " };
                Err(Failure::say(Exit::Operation, format_args!("operation {id} ended in {state}{colon}{message}")))
            }
        }
    }
}

/// A text property of an object; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// An array property of an object; empty if there is none.
pub(crate) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text as one segment of a path, or as a value of a query.
pub(crate) fn escaped(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let exit = match status.as_u16() {
        400 | 413 | 422 => Exit::Usage,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        429 | 503 => Exit::Unavailable,
        _ => Exit::Failure,
    };
    Failure::say(exit, message(status, body))
}

/// What the server says about its refusal.
fn message(status: StatusCode, body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body).ok().map(|body| text(&body, "message").to_owned());
    message.filter(|message| !message.is_empty()).unwrap_or_else(|| format!("the server answers {status}"))
}

/// A line on standard error about something slow. On a terminal it is one line that counts.
struct Progress {
    what: String,
    started: Instant,
    shown: bool,
}

impl Progress {
    fn new(what: String) -> Self {
        Self { what, started: Instant::now(), shown: false }
    }

    fn tick(&mut self) -> Result<(), Failure> {
        let elapsed = self.started.elapsed();
        if elapsed > OPERATION_WAIT_MAX {
            let seconds = elapsed.as_secs();
            return Err(Failure::say(Exit::Operation, format_args!("{} after {seconds} s, giving up", self.what)));
        }
        let mut stderr = std::io::stderr();
        if elapsed > PROGRESS_AFTER && stderr.is_terminal() {
            let _ = write!(stderr, "\r{}, {} s", self.what, elapsed.as_secs());
            self.shown = true;
        } else if elapsed > PROGRESS_AFTER && !self.shown {
            let _ = writeln!(stderr, "{}; waiting for the hosts to apply it", self.what);
            self.shown = true;
        }
        Ok(())
    }

    fn end(&self) {
        if self.shown && std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_ends_no_segment_and_no_value() {
        assert_eq!(escaped("labels"), "labels");
        assert_eq!(escaped("a/b?c&d"), "a%2Fb%3Fc%26d");
    }
}
