//! How agents are started, and their hosts join.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::json;
use ureq::http::Method;

use super::{Host, Lab};
use crate::api::text;

impl Lab {
    pub(super) fn agent_command(&self, host: usize) -> Command {
        self.host_command(host, "/dev/null", &["agent"])
    }

    /// What has a host join, and then runs its agent.
    pub(super) fn join_command(&self, host: usize) -> Result<Command> {
        let body = json!({"host": self.host(host).name, "rejoin": self.is_known(host)});
        let invitation = self.api.request(Method::POST, "/privnet/v1/host-invitations", Some(&body))?.ok()?;
        let config = self.dir().join(format!("h{host}.toml"));
        // Of an earlier time; the settings are given by flags.
        let _ = fs::remove_file(&config);
        let mut command = self.host_command(host, &config.display().to_string(), &["agent", "join"]);
        command.args(["--fingerprint", &text(&invitation, "fingerprint")?]);
        let token = self.dir().join(format!("h{host}.token"));
        fs::write(&token, text(&invitation, "token")?)?;
        command.stdin(File::open(&token)?);
        fs::remove_file(&token)?;
        Ok(command)
    }

    fn host_command(&self, host: usize, config: &str, words: &[&str]) -> Command {
        let Host { name, vtep, namespace, pin_dir, state_dir, server_address, .. } = self.host(host);
        let server = format!("https://{}", server_address.unwrap_or(self.sync_address()));
        let mut command = namespace.command(&self.binary.display().to_string());
        command.args(["--config", config, "--log", &self.builder.log]).args(words);
        command.args(["--name", name, "--vtep", &vtep.to_string(), "--server", &server]);
        command.arg("--identity").arg(self.identity(host));
        command.arg("--state").arg(state_dir).arg("--bpf-dir").arg(pin_dir);
        command
    }

    fn identity(&self, host: usize) -> PathBuf {
        self.dir().join(format!("h{host}.pem"))
    }

    /// Whether the agent of a host cannot start as it is: it has not joined, or was removed since.
    pub(super) fn has_to_join(&self, host: usize) -> bool {
        let is_server_there = || self.api.request(Method::GET, "/readyz", None).is_ok();
        !self.identity(host).exists() || (is_server_there() && !self.is_known(host))
    }

    /// Whether the server has a record of a host.
    fn is_known(&self, host: usize) -> bool {
        let hosts = self.api.get("/privnet/v1/hosts").unwrap_or_default();
        hosts["hosts"].as_array().into_iter().flatten().any(|one| one["name"] == *self.host(host).name)
    }
}
