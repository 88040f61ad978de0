//! Commands that run until they are told to stop: the server, the agent, and both in one process.

mod limits;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use privnet_agent::{AgentConfig, AgentError, IdentityError, RemoteAddress, ServerAddress};
use privnet_model::{HostName, with_causes};
use privnet_server::{Authentication, Encryption, ServedCatalogue, Server, ServerConfig, ServerError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::span::span;
use crate::args::ServerArgs;
use crate::exit::{Exit, Failure};
use crate::output::print_line;
use crate::settings::{BaseUrl, HumanDuration, ListenAddress, Settings, Source};
use crate::{logging, open_files, privilege};

/// Serves the API and the agents.
pub(super) fn server(settings: &Settings, args: &ServerArgs) -> Result<(), Failure> {
    let config = server_config(settings, args)?;
    logging::start(settings)?;
    privilege::keep_memory_private()?;
    open_files::allow(config.limits.connections_max)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let server = Server::bind(config).await.map_err(server_failure)?;
        reload_on_hangup(&server)?;
        server.run(stop).await.map_err(server_failure)
    })
}

/// Makes this host carry what the server wants.
pub(super) fn agent(settings: &Settings) -> Result<(), Failure> {
    let config = agent_config(settings, settings.require("server")?)?;
    privilege::require("privnet agent")?;
    logging::start(settings)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        privnet_agent::run(config, || (), stop).await.map_err(agent_failure)
    })
}

/// Both of this machine. When one of them ends, the other is stopped as well.
pub(super) fn up(settings: &Settings, args: &ServerArgs) -> Result<(), Failure> {
    let server_config = server_config(settings, args)?;
    let agent_config = agent_config(settings, ServerAddress::Unix(server_config.sync_socket.clone()))?;
    privilege::require("privnet up")?;
    logging::start(settings)?;
    privilege::keep_memory_private()?;
    open_files::allow(server_config.limits.connections_max)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let server = Server::bind(server_config).await.map_err(server_failure)?;
        reload_on_hangup(&server)?;
        let welcome = welcome(&server, settings);
        // Not before the agent has started, which the host may be in the way of. The two go on without a reader.
        let started = move || drop(print_line(&welcome));
        let (stopping, stopped) = watch::channel(false);
        let mut both = JoinSet::new();
        let serving = server.run(raised(stopped.clone()));
        both.spawn(async { serving.await.map_err(server_failure) });
        let carrying = privnet_agent::run(agent_config, started, raised(stopped));
        both.spawn(async { carrying.await.map_err(agent_failure) });
        until_all_ended(both, stop, stopping).await
    })
}

/// Removes everything of ours from this host, and says what that was.
pub(super) fn purge(settings: &Settings) -> Result<(), Failure> {
    let file = |name| settings.require::<PathBuf>(name);
    let (pin_dir, state_dir, identity_file) = (file("bpf-dir")?, file("state")?, file("identity")?);
    privilege::require("privnet agent --purge")?;
    let removed = privnet_agent::purge(&pin_dir, &state_dir, &identity_file).map_err(agent_failure)?;
    match &removed[..] {
        [] => print_line("nothing of privnet is on this host"),
        removed => print_line(&format!("removed {}", removed.join("\nremoved "))),
    }
}

fn server_config(settings: &Settings, args: &ServerArgs) -> Result<ServerConfig, Failure> {
    let leeway = limits::leeway(settings)?;
    let HumanDuration(operation_hold) = settings.require("operation-hold")?;
    let ListenAddress(listen) = settings.require("listen")?;
    Ok(ServerConfig {
        listen,
        encryption: encryption(settings, args)?,
        data_dir: settings.require("data")?,
        catalogue: catalogue(settings)?,
        zone: settings.require("zone")?,
        public_url: settings.parse("public-url")?.map(|BaseUrl(url)| url),
        operation_hold,
        authentication: match args.insecure_no_auth {
            false => Authentication::Signatures { leeway },
            true => Authentication::None,
        },
        limits: limits::limits(settings)?,
        audit: limits::audit(settings)?,
        sync_socket: settings.require("sync-socket")?,
        sync_listen: settings.parse("sync-listen")?.map(|ListenAddress(address)| address),
        sync_url: settings.parse::<RemoteAddress>("sync-url")?.map(|address| address.to_string()),
        certificate_lifetime: certificate_lifetime(settings)?,
    })
}

/// How the API is served. What flags say goes before what a file or a variable says.
fn encryption(settings: &Settings, args: &ServerArgs) -> Result<Encryption, Failure> {
    if args.tls_self_signed {
        return Ok(Encryption::SelfSigned);
    }
    match (settings.parse("tls-cert")?, settings.parse("tls-key")?) {
        _ if args.allow_plain_http => Ok(Encryption::None { anywhere: true }),
        (Some(certificate), Some(key)) => Ok(Encryption::Files { certificate, key }),
        (None, None) => Ok(Encryption::None { anywhere: false }),
        (Some(_), None) => Err(settings.refuse("tls-cert", "it needs its private key: set tls-key as well")),
        (None, Some(_)) => Err(settings.refuse("tls-key", "it needs its certificate: set tls-cert as well")),
    }
}

/// At least a second, and less than the authority's own.
fn certificate_lifetime(settings: &Settings) -> Result<Duration, Failure> {
    const DAYS_MAX: i64 = 3650;
    let refuse = || settings.refuse("certificate-lifetime", "a duration from 1s to 3650d is expected, such as 30d");
    let lifetime = span(&settings.require::<String>("certificate-lifetime")?).ok_or_else(refuse)?;
    let seconds = lifetime.as_secs();
    let is_good = (1..=DAYS_MAX * 86_400).contains(&seconds);
    is_good.then(|| Duration::from_secs(seconds.unsigned_abs())).ok_or_else(refuse)
}

/// What the file says, which may be missing where nobody has named one.
fn catalogue(settings: &Settings) -> Result<ServedCatalogue, Failure> {
    let is_optional = settings.get("catalogue").source == Source::Default;
    let opened = ServedCatalogue::open(settings.require("catalogue")?, is_optional);
    opened.map_err(|cause| settings.refuse("catalogue", with_causes(&cause)))
}

fn agent_config(settings: &Settings, server: ServerAddress) -> Result<AgentConfig, Failure> {
    Ok(AgentConfig {
        host: host_name(settings)?,
        server,
        identity_file: settings.require("identity")?,
        state_dir: settings.require("state")?,
        vtep: settings.parse("vtep")?,
        vxlan_port: settings.require("vxlan-port")?,
        pin_dir: settings.require("bpf-dir")?,
        bum_copies_per_second: settings.require("bum-copies-per-second")?,
    })
}

/// This host's name in the zone: the `name` setting, or the machine's own.
pub(crate) fn host_name(settings: &Settings) -> Result<HostName, Failure> {
    const KERNEL_HOST_NAME: &str = "/proc/sys/kernel/hostname";
    if let Some(name) = settings.parse::<String>("name")? {
        return HostName::try_from(name.as_str()).map_err(|error| settings.refuse("name", error));
    }
    let own = std::fs::read_to_string(KERNEL_HOST_NAME).with_context(|| format!("cannot read {KERNEL_HOST_NAME}"))?;
    HostName::try_from(own.trim())
        .map_err(|error| Failure::new(Exit::Usage, anyhow::Error::new(error).context("name this host by --name")))
}

pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(Runtime::new().context("cannot start the runtime")?)
}

/// Resolves at the first SIGINT or SIGTERM from here on.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Has the server's files read again at each SIGHUP from here on.
fn reload_on_hangup(server: &Server) -> Result<(), Failure> {
    let reloader = server.reloader();
    let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reloader.reload();
        }
    });
    Ok(())
}

/// Resolves when the flag is raised, or nobody is left who could.
async fn raised(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

/// Waits for `stop` or the first to end, has the others stop as well, and returns the first failure.
async fn until_all_ended(
    mut all: JoinSet<Result<(), Failure>>,
    stop: impl Future<Output = ()>,
    stopping: watch::Sender<bool>,
) -> Result<(), Failure> {
    let mut outcome = tokio::select! {
        () = stop => Ok(()),
        Some(ended) = all.join_next() => result_of(ended),
    };
    stopping.send_replace(true);
    while let Some(ended) = all.join_next().await {
        outcome = outcome.and(result_of(ended));
    }
    outcome
}

fn result_of(ended: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    // Nobody cancels one, so it has panicked.
    ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

fn server_failure(error: ServerError) -> Failure {
    let exit = match error {
        ServerError::OpenToAll(_) | ServerError::NotLoopback(_) => Exit::Usage,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

fn agent_failure(error: AgentError) -> Failure {
    match error {
        AgentError::DefaultVtep(_) => {
            let advice = "this host has no default route: give its underlay address by --vtep";
            Failure::new(Exit::Usage, anyhow::Error::new(error).context(advice))
        }
        AgentError::Identity(IdentityError::Io { .. }) => Failure::new(Exit::Failure, error),
        AgentError::Identity(_) => Failure::new(Exit::Usage, error),
        _ => Failure::new(Exit::Failure, error),
    }
}

/// What a newcomer needs to know first.
fn welcome(server: &Server, settings: &Settings) -> String {
    let (api, certificate) = (server.address(), server.certificate());
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{api}");
    // Where clients look by themselves it need not be said.
    let mut export = match settings.get("api-url").text.as_deref() == Some(&url) {
        true => String::new(),
        false => format!("  export PRIVNET_API_URL={url}\n"),
    };
    let data = settings.get("data");
    if matches!(data.source, Source::Flag(_) | Source::Environment(_)) {
        export += &format!("  export PRIVNET_DATA={}\n", data.text.as_deref().unwrap_or_default());
    }
    let trust = certificate.map_or_else(String::new, |certificate| {
        format!("The SHA-256 fingerprint of its certificate is {}.\n", certificate.fingerprint())
    });
    format!(
        "privnet is up on this machine; the API is at {url}.\n{trust}\
        \n\
        In another shell, for example:\n\
        {export}\
        \x20 ip netns add red; ip netns add blue\n\
        \x20 privnet network create backend --start-ip 10.0.0.10 --end-ip 10.0.0.99 --netmask 255.255.255.0\n\
        \x20 privnet instance create red\n\
        \x20 privnet instance create blue\n\
        \x20 privnet attach red backend\n\
        \x20 privnet attach blue backend\n\
        \n\
        Clients of Exoscale take what `privnet env` prints.\n\
        Ctrl-C stops server and agent; what is attached goes on. `{}` removes it.\n",
        purge_command(settings)
    )
}

/// How to purge this host. What flags have set no other command finds by itself.
fn purge_command(settings: &Settings) -> String {
    let by_flag = |name| matches!(settings.get(name).source, Source::Flag(_));
    let text = |name| settings.get(name).text.as_deref().unwrap_or_default();
    let mut command = "privnet agent --purge".to_owned();
    if by_flag("bpf-dir") {
        command += &format!(" --bpf-dir {}", text("bpf-dir"));
    }
    for in_data in ["state", "identity"] {
        if by_flag(in_data) || by_flag("data") {
            command += &format!(" --{in_data} {}", text(in_data));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_purge_names_what_flags_have_moved() {
        let with = |flags: &[(&str, &str)]| {
            let flag = |name: &str| flags.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
            purge_command(&Settings::load(flag, |_| None, Some("/dev/null".into()), false).expect("valid"))
        };
        assert_eq!(with(&[]), "privnet agent --purge");
        let moved = "privnet agent --purge --state /srv/p/agent --identity /srv/p/identity.pem";
        assert_eq!(with(&[("data", "/srv/p")]), moved);
        assert_eq!(with(&[("identity", "/srv/i")]), "privnet agent --purge --identity /srv/i");
        let both = with(&[("bpf-dir", "/sys/fs/bpf/x"), ("state", "/srv/s")]);
        assert_eq!(both, "privnet agent --purge --bpf-dir /sys/fs/bpf/x --state /srv/s");
    }

    async fn says(words: &'static str, flag: watch::Receiver<bool>) -> Result<(), Failure> {
        raised(flag).await;
        Err(Failure::say(Exit::Failure, words))
    }

    #[tokio::test]
    async fn when_one_fails_the_others_are_stopped_and_its_failure_is_told() {
        let (stopping, stopped) = watch::channel(false);
        let mut all = JoinSet::new();
        all.spawn(says("stopped", stopped.clone()));
        all.spawn(async { Err(Failure::say(Exit::Failure, "broken")) });
        let outcome = until_all_ended(all, std::future::pending(), stopping).await;
        assert_eq!(outcome.expect_err("one has failed").to_string(), "broken");
    }

    #[tokio::test]
    async fn what_fails_while_it_is_stopped_is_told() {
        let (stopping, stopped) = watch::channel(false);
        let mut all = JoinSet::new();
        all.spawn(raised_and_well(stopped.clone()));
        all.spawn(says("did not stop well", stopped));
        let outcome = until_all_ended(all, std::future::ready(()), stopping).await;
        assert_eq!(outcome.expect_err("one has failed").to_string(), "did not stop well");
    }

    async fn raised_and_well(flag: watch::Receiver<bool>) -> Result<(), Failure> {
        raised(flag).await;
        Ok(())
    }
}
