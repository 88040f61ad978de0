use serde_json::Value;

use super::Context;
use crate::args::{OperationCommand, WaitArgs};
use crate::client::text;
use crate::exit::Failure;
use crate::output::properties;

pub(super) fn run(command: OperationCommand, context: &Context) -> Result<(), Failure> {
    let OperationCommand::Show { id, wait } = command;
    let mut operation = context.client.get(&format!("/v2/operation/{id}"))?;
    if wait {
        operation = context.client.wait(operation)?;
    }
    context.output.print(&operation, || describe(&operation))
}

/// Waits for an accepted operation's end, unless told not to, and prints what came of it.
pub(super) fn finish(
    accepted: Value,
    wait: WaitArgs,
    context: &Context,
    outcome: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    if wait.no_wait {
        return context.output.print(&accepted, || describe(&accepted));
    }
    let operation = context.client.wait(accepted)?;
    context.output.print(&operation, || outcome(&operation))
}

fn describe(operation: &Value) -> String {
    let property = |key| text(operation, key).to_owned();
    properties([
        ("operation", property("id")),
        ("state", property("state")),
        ("reason", property("reason")),
        ("message", property("message")),
        ("about", text(&operation["reference"], "link").to_owned()),
    ])
}
