use std::fmt;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// What a runtime is told when something cannot be done (specification, section 5, Error).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CniError {
    code: Code,
    message: String,
    details: String,
}

/// Why. Up to 99 as the specification says, from 100 on as this plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The configuration is of a version that is not spoken here, or in which there is no such command.
    IncompatibleVersion = 1,
    /// The configuration has a key that must not be ignored; the message has it and its value.
    UnsupportedField = 2,
    /// There is no such container, and nothing to clean up.
    UnknownContainer = 3,
    /// An environment variable is missing or breaks a rule; the message has its name.
    Environment = 4,
    /// Standard input cannot be read.
    Io = 5,
    /// Standard input is not JSON.
    Decode = 6,
    /// The configuration breaks a rule, or names what does not exist.
    InvalidConfig = 7,
    /// It may succeed later: the server cannot be reached, or cannot serve now.
    TryAgainLater = 11,
    /// Containers cannot be added.
    Unavailable = 50,
    /// The same, and those that are there may lack what has changed since.
    UnavailableAndLimited = 51,
    /// What is wanted does not fit what there is: no address is left, a quota is reached, a device is there already.
    Conflict = 100,
    /// The container is not as it was added.
    NotAsAdded = 101,
    /// Anything else, such as a key that does not allow it.
    Failed = 102,
}

impl CniError {
    pub(super) fn new(code: Code, message: impl fmt::Display, details: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), details: details.to_string() }
    }

    /// One of which there is nothing more to tell.
    pub(super) fn say(code: Code, message: impl fmt::Display) -> Self {
        Self::new(code, message, "")
    }

    /// The server's answer, or that there is none, to what we were doing.
    pub(super) fn of(failure: &Failure, doing: impl fmt::Display) -> Self {
        let code = match failure.exit() {
            Exit::Unavailable => Code::TryAgainLater,
            Exit::Usage | Exit::NotFound => Code::InvalidConfig,
            Exit::Conflict => Code::Conflict,
            Exit::Failure | Exit::Operation => Code::Failed,
        };
        Self::new(code, format_args!("cannot {doing}"), failure)
    }

    /// The same with another code.
    pub(super) fn coded(self, code: Code) -> Self {
        Self { code, ..self }
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// The same, and something more to tell.
    pub(super) fn and(mut self, more: impl fmt::Display) -> Self {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(&more.to_string());
        self
    }

    /// What is printed.
    pub(super) fn document(&self, version: &str) -> Value {
        let mut document = json!({"cniVersion": version, "code": self.code as u32, "msg": self.message});
        if !self.details.is_empty() {
            document["details"] = self.details.as_str().into();
        }
        document
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}
