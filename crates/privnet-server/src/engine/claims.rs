//! Which agent is a host's only one.
//!
//! Whoever connects as a host that has an agent already takes its place where it is the same run of the agent, whose
//! older connection is of no use to it. Another run asks the one that is there, and is refused when that answers.

use std::collections::HashMap;
use std::time::Duration;

use privnet_model::{HostId, HostName};
use privnet_sync::RunId;
use tokio::sync::{oneshot, watch};

use super::{Engine, lock};

/// How long an agent has to say that it is still there: its connection may be dead and nobody know it yet.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How many may ask to be one host at a time.
const RIVALS_MAX: usize = 16;

/// Who asks to be a host's agent.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) host: HostName,
    pub(crate) run: Option<RunId>,
    /// Whether it answers when another one asks.
    pub(crate) answers_rivals: bool,
    /// Where it is, for people.
    pub(crate) who: String,
}

/// Another agent is connected for the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostBusy {
    /// Where that one is, for people.
    pub(crate) who: String,
}

/// The right to be a host's only agent, until it is dropped or another one has taken it.
pub(crate) struct Claim {
    name: HostName,
    number: u64,
    standing: watch::Receiver<Standing>,
    /// Once the agent is connected.
    pub(super) host: Option<HostId>,
    engine: Engine,
}

/// What an agent that is connected has to hear about its claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    #[default]
    Alone,
    /// Another one has asked, for the `serial`th time.
    Asked { who: String, serial: u64 },
}

/// The claims that there are.
#[derive(Default)]
pub(super) struct Claims {
    holders: HashMap<HostName, Holder>,
    last_number: u64,
}

struct Holder {
    number: u64,
    newcomer: Newcomer,
    standing: watch::Sender<Standing>,
    last_serial: u64,
    /// Those that wait for its answer.
    rivals: Vec<oneshot::Sender<()>>,
}

/// What comes of asking for a claim.
enum Asked {
    Granted {
        number: u64,
        standing: watch::Receiver<Standing>,
    },
    Refused(HostBusy),
    /// To be granted unless the holder with this number answers.
    Awaits {
        holder: u64,
        answer: oneshot::Receiver<()>,
    },
}

impl Engine {
    /// Lets nobody else be the agent of a host until the claim, and the link that it becomes, is dropped.
    pub(crate) async fn claim(&self, newcomer: Newcomer) -> Result<Claim, HostBusy> {
        let mut silent = None;
        loop {
            let asked = lock(&self.shared.hosts).claims.ask(&newcomer, silent);
            match asked {
                Asked::Granted { number, standing } => {
                    let name = newcomer.host.clone();
                    return Ok(Claim { name, number, standing, host: None, engine: self.clone() });
                }
                Asked::Refused(busy) => return Err(busy),
                Asked::Awaits { holder, answer } => match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                    Ok(Ok(())) => {
                        return Err(HostBusy { who: lock(&self.shared.hosts).claims.who(&newcomer.host) });
                    }
                    // It has gone, or another one has taken its place.
                    Ok(Err(_)) => {}
                    Err(_) => silent = Some(holder),
                },
            }
        }
    }
}

impl Claims {
    /// `silent`: a holder that has not answered.
    fn ask(&mut self, newcomer: &Newcomer, silent: Option<u64>) -> Asked {
        let Some(holder) = self.holders.get_mut(&newcomer.host) else { return self.grant(newcomer) };
        let is_same_run = newcomer.run.is_some() && newcomer.run == holder.newcomer.run;
        if is_same_run || silent == Some(holder.number) {
            return self.grant(newcomer);
        }
        holder.rivals.retain(|rival| !rival.is_closed());
        if !holder.newcomer.answers_rivals || holder.rivals.len() >= RIVALS_MAX {
            return Asked::Refused(HostBusy { who: holder.newcomer.who.clone() });
        }
        let (answered, answer) = oneshot::channel();
        holder.rivals.push(answered);
        holder.last_serial += 1;
        holder.standing.send_replace(Standing::Asked { who: newcomer.who.clone(), serial: holder.last_serial });
        Asked::Awaits { holder: holder.number, answer }
    }

    fn grant(&mut self, newcomer: &Newcomer) -> Asked {
        self.last_number += 1;
        let number = self.last_number;
        let (sender, standing) = watch::channel(Standing::Alone);
        let holder =
            Holder { number, newcomer: newcomer.clone(), standing: sender, last_serial: 0, rivals: Vec::new() };
        self.holders.insert(newcomer.host.clone(), holder);
        Asked::Granted { number, standing }
    }

    fn who(&self, host: &HostName) -> String {
        self.holders.get(host).map_or_else(String::new, |holder| holder.newcomer.who.clone())
    }

    /// Whether nobody has taken the claim since.
    pub(super) fn is_held(&self, claim: &Claim) -> bool {
        self.holders.get(&claim.name).is_some_and(|holder| holder.number == claim.number)
    }
}

impl Claim {
    /// Tells this claim from earlier ones.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What is to be heard about it. Its end says that another connection has taken it.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Whether nobody has taken it since.
    pub(super) fn is_held(&self) -> bool {
        lock(&self.engine.shared.hosts).claims.is_held(self)
    }

    /// The agent is still there, as it answers to the last that it was asked. What answers anything else may have
    /// been said before anybody asked.
    pub(super) fn answer(&self, serial: u64) {
        let mut hosts = lock(&self.engine.shared.hosts);
        if let Some(holder) = hosts.claims.holders.get_mut(&self.name)
            && (holder.number, holder.last_serial) == (self.number, serial)
        {
            // One that has stopped waiting needs no answer.
            for rival in holder.rivals.drain(..) {
                let _ = rival.send(());
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut hosts = lock(&self.engine.shared.hosts);
        if hosts.is_closing() {
            return;
        }
        if hosts.claims.is_held(self) {
            hosts.claims.holders.remove(&self.name);
        }
        if let Some(host) = self.host
            && hosts.disconnect(host, self.number)
        {
            drop(hosts);
            self.engine.disconnected(host);
        }
    }
}
