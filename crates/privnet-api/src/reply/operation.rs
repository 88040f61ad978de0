use privnet_model::zone::Caller;
use privnet_model::{OperationState, Reason, Subject};
use schemars::JsonSchema;
use serde::Serialize;

/// An accepted change, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "operation")]
pub struct Operation<'a> {
    #[serde(serialize_with = "super::network::as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: privnet_model::OperationId,
    /// `success`: the hosts concerned have applied it. `failure`: a host could not, or the instance was
    /// detached or removed before. `timeout`: the instance's host was away for too long, or a workload that was
    /// moved has not arrived; what was asked is applied when it can be.
    #[schemars(extend("enum" = ["failure", "pending", "success", "timeout"]))]
    state: &'static str,
    /// Why it failed or timed out, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "busy", "conflict", "fault", "forbidden", "incorrect", "interrupted", "not-found", "partial", "unavailable",
        "unknown", "unsupported"
    ]))]
    reason: Option<&'static str>,
    /// Why it failed or timed out, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// Absent where it is about what has no id, such as an SSH key.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<Reference>,
}

/// What an operation is about: the private network, or the instance that is moved. It may be gone by now.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "reference")]
pub struct Reference {
    #[schemars(extend("format" = "uuid"))]
    id: String,
    /// Where it is read.
    link: String,
    /// The operation that reads it.
    command: &'static str,
}

impl<'a> Operation<'a> {
    /// An operation as a caller sees it. What went wrong on which host is told to operators alone: their message names
    /// hosts, addresses and paths, and an organization's has what it can do about it.
    pub fn seen_by(caller: Caller, operation: &'a privnet_model::Operation) -> Self {
        let (state, reason, message) = match &operation.state {
            OperationState::Pending { .. } => ("pending", None, None),
            OperationState::Success => ("success", None, None),
            OperationState::Failure { reason, message } => ("failure", Some(*reason), Some((message, failed(*reason)))),
            // python-exoscale reads the reason of every operation that did not succeed (contract §2.4).
            OperationState::Timeout { message } => ("timeout", Some(Reason::Unavailable), Some((message, LATE))),
        };
        let message = message.map(|(full, told)| if caller.is_operator() { full.as_str() } else { told });
        Self {
            id: operation.id,
            state,
            reason: reason.map(Reason::as_str),
            message,
            reference: Reference::to(operation.subject),
        }
    }

    /// The answer to what has made an operation: `success`, or `pending`. egoscale takes a first answer that is not
    /// pending for a success, whatever it says (contract §2.1); of what has failed already, it learns when it asks.
    pub fn accepted(caller: Caller, operation: &'a privnet_model::Operation) -> Self {
        let seen = Self::seen_by(caller, operation);
        match operation.state {
            OperationState::Success => seen,
            _ => Self { state: "pending", reason: None, message: None, ..seen },
        }
    }
}

/// What an organization is told about a change that was not applied in time.
const LATE: &str = "the change has not been applied in time, as a host is away or has not confirmed it; it stays wanted and is applied when it can be; an operator is told more";

/// What an organization is told about a change that could not be applied.
const fn failed(reason: Reason) -> &'static str {
    match reason {
        Reason::Fault => {
            "a host could not apply the change, which stays wanted and is tried again; an operator is told more"
        }
        Reason::NotFound => {
            "the instance is not there: it was detached or removed before the change was in force, or its workload has not arrived, and then the change stays wanted and is tried again; an operator is told more"
        }
        Reason::Conflict => {
            "the instance has another device of the port's name; the change stays wanted and is tried again; an operator is told more"
        }
        Reason::Unavailable => {
            "a host was away, and the change stays wanted and is tried again; an operator is told more"
        }
    }
}

impl Reference {
    fn to(subject: Subject) -> Option<Self> {
        let (id, path, command) = match subject {
            Subject::Network(id) => (id.to_string(), "/v2/private-network", "get-private-network"),
            Subject::Instance(id) => (id.to_string(), "/v2/instance", "get-instance"),
            Subject::Nothing => return None,
        };
        Some(Self { link: format!("{path}/{id}"), id, command })
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{Applied, Generation, OperationKind, OrganizationId, Timestamp, Wait};

    use super::*;

    fn operation(kind: OperationKind, subject: Subject, state: OperationState) -> privnet_model::Operation {
        privnet_model::Operation {
            id: "e2047130-b86e-11ef-83b3-0d8312b2c2d7".parse().expect("id"),
            organization: OrganizationId::DEFAULT,
            kind,
            subject,
            created_at: Timestamp::from_unix_ms(0),
            request: None,
            state,
        }
    }

    fn check(state: OperationState, expected: &str) {
        let network = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50".parse().expect("id");
        let operation = operation(OperationKind::Attach, Subject::Network(network), state);
        let reference = concat!(
            r#""reference":{"id":"3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","#,
            r#""link":"/v2/private-network/3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","command":"get-private-network"}"#
        );
        let expected = format!(r#"{{"id":"e2047130-b86e-11ef-83b3-0d8312b2c2d7",{expected},{reference}}}"#);
        assert_eq!(
            serde_json::to_string(&Operation::seen_by(Caller::OPERATOR, &operation)).expect("serializes"),
            expected
        );
    }

    #[test]
    fn the_reference_is_there_in_every_state_and_names_the_read() {
        let network = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50".parse().expect("id");
        let wait = Wait::Applied(Applied { network, generation: Generation::FIRST, port: None });
        check(OperationState::Pending { wait, deadline: Timestamp::from_unix_ms(60_000) }, r#""state":"pending""#);
        check(OperationState::Success, r#""state":"success""#);
    }

    #[test]
    fn what_is_about_an_instance_refers_to_it() {
        let instance = "8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11".parse().expect("id");
        let operation = operation(OperationKind::Move, Subject::Instance(instance), OperationState::Success);
        let expected = concat!(
            r#"{"id":"e2047130-b86e-11ef-83b3-0d8312b2c2d7","state":"success","#,
            r#""reference":{"id":"8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11","#,
            r#""link":"/v2/instance/8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11","command":"get-instance"}}"#
        );
        assert_eq!(
            serde_json::to_string(&Operation::seen_by(Caller::OPERATOR, &operation)).expect("serializes"),
            expected
        );
    }

    #[test]
    fn what_did_not_succeed_has_a_reason_and_a_message() {
        check(
            OperationState::Failure { reason: Reason::NotFound, message: "no network namespace web1".into() },
            r#""state":"failure","reason":"not-found","message":"no network namespace web1""#,
        );
        check(
            OperationState::Timeout { message: "host h1 was away".into() },
            r#""state":"timeout","reason":"unavailable","message":"host h1 was away""#,
        );
    }

    #[test]
    fn the_first_answer_is_success_or_pending() {
        let reason = Reason::Fault;
        for (state, expected) in [
            (OperationState::Success, "success"),
            (OperationState::Failure { reason, message: "no".into() }, "pending"),
            (OperationState::Timeout { message: "no".into() }, "pending"),
        ] {
            let operation = operation(OperationKind::Attach, Subject::Nothing, state);
            let answer = Operation::accepted(Caller::OPERATOR, &operation);
            assert_eq!((answer.state, answer.reason, answer.message), (expected, None, None));
        }
    }

    #[test]
    fn an_organization_is_told_what_it_can_do_and_nothing_of_hosts() {
        let message = "host h1: network namespace web1 does not exist on this host";
        let failures = Reason::ALL.map(|reason| OperationState::Failure { reason, message: message.to_owned() });
        for state in failures.into_iter().chain([OperationState::Timeout { message: message.to_owned() }]) {
            let operation = operation(OperationKind::Attach, Subject::Nothing, state);
            let told = Operation::seen_by(Caller::NOBODY, &operation).message.expect("a message");
            assert!(!told.contains("h1") && !told.contains("web1"), "{told}");
            assert!(told.ends_with("an operator is told more"), "{told}");
            assert_eq!(Operation::seen_by(Caller::OPERATOR, &operation).message, Some(message));
        }
    }
}
