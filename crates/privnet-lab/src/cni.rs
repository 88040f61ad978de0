//! The CNI plugin as a container runtime drives it: by environment and standard input.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::json::{items, text};
use crate::lab::Lab;
use crate::namespace::{NETNS_DIR, Namespace};

/// A configuration of a network for host `host`, from 1, with a key that is good for that host's containers alone.
///
/// # Errors
/// The API refuses, or the key cannot be written down.
pub fn config(lab: &Lab, host: usize, network: &str) -> Result<Value> {
    let listed = lab.api().get("/privnet/v1/hosts")?;
    let name = &lab.host(host).name;
    let known = items(&listed, "hosts").iter().find(|one| text(one, "name") == name);
    let known = known.with_context(|| format!("host {name} is not registered"))?;
    let wish = json!({"name": "containers", "role": "runtime", "host": known["id"]});
    let key = lab.api().request(Method::POST, "/privnet/v1/keys", Some(&wish))?.ok()?;
    let credentials = lab.dir().join(format!("cni-{name}.json"));
    fs::write(&credentials, json!({"key": key["id"], "secret": key["secret"]}).to_string())?;
    Ok(json!({
        "cniVersion": "1.1.0",
        "name": "backend-net",
        "type": "privnet-cni",
        "network": network,
        "api-url": lab.api().url(),
        "credentials": credentials,
    }))
}

/// What the plugin's environment says of an attachment, beside the command.
pub fn variables(container: &str, namespace: &Namespace, device: &str) -> Vec<(&'static str, String)> {
    vec![
        ("CNI_CONTAINERID", container.to_owned()),
        ("CNI_NETNS", format!("{NETNS_DIR}/{}", namespace.name())),
        ("CNI_IFNAME", device.to_owned()),
        ("CNI_PATH", "/opt/cni/bin".to_owned()),
    ]
}

/// Starts the plugin of this `privnet` binary with nothing in its environment but this.
///
/// # Errors
/// It cannot be started, or does not read its input.
pub fn start(binary: &Path, command: &str, variables: &[(&str, String)], input: &str) -> Result<Child> {
    let mut plugin = Command::new(binary);
    plugin.arg("cni").env_clear().env("CNI_COMMAND", command);
    plugin.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("standard input")?.write_all(input.as_bytes())?;
    Ok(child)
}
