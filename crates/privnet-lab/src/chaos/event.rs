//! What may happen in a run. Networks, instances and hosts are named by their slots, so that an event
//! means something whatever has become of the events before it.

use std::fmt;
use std::time::Duration;

/// A place for a network; over time it holds many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NetworkSlot(pub(crate) usize);

/// A place for an instance; over time it holds many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceSlot(pub(crate) usize);

/// A place for an instance that its host makes; over time it holds many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MadeSlot(pub(crate) usize);

/// A host's number, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostNumber(pub(crate) usize);

/// One event of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// How long after the event before it.
    pub(crate) after: Duration,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A client's request. Clients work side by side, each through its own requests in order.
    Ask(Request),
    /// Something that goes wrong, or right again.
    Upset(Upset),
    /// The next event waits until the clients have their answers, but not for long.
    Gather,
}

/// A request of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    CreateNetwork {
        network: NetworkSlot,
        is_managed: bool,
    },
    /// Replaces description and labels.
    Relabel {
        network: NetworkSlot,
        text: u32,
    },
    ResetLabels {
        network: NetworkSlot,
    },
    /// Gives an unmanaged network a range, or a managed one another.
    SetRange {
        network: NetworkSlot,
        range: Range,
    },
    DeleteNetwork {
        network: NetworkSlot,
    },
    CreateInstance {
        instance: InstanceSlot,
        host: HostNumber,
    },
    DeleteInstance {
        instance: InstanceSlot,
    },
    /// To a namespace of its own, which is there before the move or comes after it.
    Move {
        instance: InstanceSlot,
        host: HostNumber,
        is_early: bool,
    },
    Attach {
        instance: InstanceSlot,
        network: NetworkSlot,
        address: Option<u8>,
    },
    Detach {
        instance: InstanceSlot,
        network: NetworkSlot,
    },
    UpdateIp {
        instance: InstanceSlot,
        network: NetworkSlot,
        address: Option<u8>,
    },
    /// Has an instance made by its host. Nobody listens or speaks in it: it is a member among others.
    Make {
        made: MadeSlot,
        host: HostNumber,
    },
    Join {
        made: MadeSlot,
        network: NetworkSlot,
    },
    Power {
        made: MadeSlot,
        switch: Switch,
    },
    /// With all its ports.
    Unmake {
        made: MadeSlot,
    },
}

/// What is done to an instance that runs or is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Start,
    Stop,
    /// Refused if it is stopped.
    Reboot,
}

impl Switch {
    pub(crate) const ALL: [Self; 3] = [Self::Start, Self::Stop, Self::Reboot];

    /// As paths end in it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
        }
    }
}

/// The dynamic range of a managed network, by the last octets of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u8,
    pub(crate) last: u8,
}

/// What goes wrong, and how it comes right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upset {
    /// SIGKILL.
    KillAgent(HostNumber),
    /// SIGTERM.
    StopAgent(HostNumber),
    StartAgent(HostNumber),
    /// SIGSTOP.
    PauseAgent(HostNumber),
    /// SIGCONT.
    ResumeAgent(HostNumber),
    KillServer,
    StopServer,
    StartServer,
    PauseServer,
    ResumeServer,
    /// All streams are cut, and so long after that, while the agents connect, the server is killed; it starts at once.
    RestartServerWhileConnecting(Duration),
    /// The agent's connection to the server ends.
    CutStream(HostNumber),
    /// Nothing passes on it, though it stays.
    HoldStream(HostNumber),
    ReleaseStream(HostNumber),
    /// The host's underlay device.
    LinkDown(HostNumber),
    LinkUp(HostNumber),
    /// The switch's port to the host.
    Unplug(HostNumber),
    PlugIn(HostNumber),
    /// What the first sends to the second vanishes.
    Blackhole(HostNumber, HostNumber),
    Heal(HostNumber, HostNumber),
    /// Agent, devices and pins are gone; then the agent starts.
    Reboot(HostNumber),
    /// It is taken for lost, with its instances; then it joins with a new invitation, and has all that it had.
    RemoveHost(HostNumber),
    /// It joins with a new invitation, as itself; its agent is killed for it.
    ReplaceCertificate(HostNumber),
    /// Somebody changes by hand what is ours. `pick` selects among what is there.
    Damage(HostNumber, Damage, u32),
    /// The namespace is removed, with the devices in it.
    LoseNamespace(InstanceSlot),
    RemakeNamespace(InstanceSlot),
    FillServerDisk,
    FreeServerDisk,
    FillAgentDisk(HostNumber),
    FreeAgentDisk(HostNumber),
    /// So many broadcasts from one port, as fast as they go.
    Storm(InstanceSlot, u32),
}

/// What somebody does by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    DeleteDevice,
    DeleteInnerDevice,
    SetDeviceDown,
    SetInnerDeviceDown,
    ChangeDeviceMtu,
    DeleteOverlay,
    SetOverlayDown,
    RemoveFilter,
    RemoveOverlayProgram,
    RemoveEntry,
    AddEntry,
    EmptyMaps,
    RemovePins,
    AddStrayDevice,
}

impl Damage {
    pub(crate) const ALL: [Self; 14] = [
        Self::DeleteDevice,
        Self::DeleteInnerDevice,
        Self::SetDeviceDown,
        Self::SetInnerDeviceDown,
        Self::ChangeDeviceMtu,
        Self::DeleteOverlay,
        Self::SetOverlayDown,
        Self::RemoveFilter,
        Self::RemoveOverlayProgram,
        Self::RemoveEntry,
        Self::AddEntry,
        Self::EmptyMaps,
        Self::RemovePins,
        Self::AddStrayDevice,
    ];
}

impl Upset {
    /// The hosts whose frames may be lost by it.
    pub(crate) fn harms(self) -> Vec<HostNumber> {
        match self {
            Self::LinkDown(host)
            | Self::LinkUp(host)
            | Self::Unplug(host)
            | Self::PlugIn(host)
            | Self::Reboot(host)
            | Self::RemoveHost(host)
            | Self::Damage(host, ..) => vec![host],
            Self::Blackhole(from, to) | Self::Heal(from, to) => vec![from, to],
            // Design §9: agents and server may be away, and what a namespace had is its own matter.
            Self::KillAgent(_)
            | Self::StopAgent(_)
            | Self::StartAgent(_)
            | Self::PauseAgent(_)
            | Self::ResumeAgent(_)
            | Self::KillServer
            | Self::StopServer
            | Self::StartServer
            | Self::PauseServer
            | Self::ResumeServer
            | Self::RestartServerWhileConnecting(_)
            | Self::ReplaceCertificate(_)
            | Self::CutStream(_)
            | Self::HoldStream(_)
            | Self::ReleaseStream(_)
            | Self::LoseNamespace(_)
            | Self::RemakeNamespace(_)
            | Self::FillServerDisk
            | Self::FreeServerDisk
            | Self::FillAgentDisk(_)
            | Self::FreeAgentDisk(_)
            | Self::Storm(..) => Vec::new(),
        }
    }
}

impl fmt::Display for NetworkSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for InstanceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

impl fmt::Display for MadeSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

impl fmt::Display for HostNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:>3} ms  {}", self.after.as_millis(), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(request) => request.fmt(f),
            Self::Upset(upset) => write!(f, "! {upset}"),
            Self::Gather => f.write_str("gather"),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = |address: &Option<u8>| address.map(|octet| format!(" as .{octet}")).unwrap_or_default();
        match self {
            Self::CreateNetwork { network, is_managed: true } => write!(f, "create {network}, managed"),
            Self::CreateNetwork { network, is_managed: false } => write!(f, "create {network}"),
            Self::Relabel { network, text } => write!(f, "label {network} {text:08x}"),
            Self::ResetLabels { network } => write!(f, "reset labels of {network}"),
            Self::SetRange { network, range } => write!(f, "range of {network} .{} to .{}", range.first, range.last),
            Self::DeleteNetwork { network } => write!(f, "delete {network}"),
            Self::CreateInstance { instance, host } => write!(f, "create {instance} on {host}"),
            Self::DeleteInstance { instance } => write!(f, "delete {instance}"),
            Self::Move { instance, host, is_early: false } => write!(f, "move {instance} to {host}"),
            Self::Move { instance, host, is_early: true } => write!(f, "move {instance} to {host} before it is there"),
            Self::Attach { instance, network, address } => write!(f, "attach {instance} to {network}{}", to(address)),
            Self::Detach { instance, network } => write!(f, "detach {instance} from {network}"),
            Self::UpdateIp { instance, network, address } => {
                write!(f, "update-ip of {instance} in {network}{}", to(address))
            }
            Self::Make { made, host } => write!(f, "make {made} on {host}"),
            Self::Join { made, network } => write!(f, "attach {made} to {network}"),
            Self::Power { made, switch } => write!(f, "{} {made}", switch.as_str()),
            Self::Unmake { made } => write!(f, "delete {made}"),
        }
    }
}

impl fmt::Display for Upset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAgent(host) => write!(f, "kill -9 the agent of {host}"),
            Self::StopAgent(host) => write!(f, "stop the agent of {host}"),
            Self::StartAgent(host) => write!(f, "start the agent of {host}"),
            Self::PauseAgent(host) => write!(f, "pause the agent of {host}"),
            Self::ResumeAgent(host) => write!(f, "resume the agent of {host}"),
            Self::KillServer => f.write_str("kill -9 the server"),
            Self::StopServer => f.write_str("stop the server"),
            Self::StartServer => f.write_str("start the server"),
            Self::PauseServer => f.write_str("pause the server"),
            Self::ResumeServer => f.write_str("resume the server"),
            Self::RestartServerWhileConnecting(pause) => {
                write!(f, "cut all streams and kill and start the server {} ms later", pause.as_millis())
            }
            Self::CutStream(host) => write!(f, "cut the stream of {host}"),
            Self::HoldStream(host) => write!(f, "hold the stream of {host}"),
            Self::ReleaseStream(host) => write!(f, "release the stream of {host}"),
            Self::LinkDown(host) => write!(f, "underlay device of {host} down"),
            Self::LinkUp(host) => write!(f, "underlay device of {host} up"),
            Self::Unplug(host) => write!(f, "pull the underlay's plug of {host}"),
            Self::PlugIn(host) => write!(f, "put the underlay's plug of {host} in"),
            Self::Blackhole(from, to) => write!(f, "{from} sends nothing to {to}"),
            Self::Heal(from, to) => write!(f, "{from} sends to {to} again"),
            Self::Reboot(host) => write!(f, "reboot {host}"),
            Self::RemoveHost(host) => write!(f, "remove {host} with its instances, and invite it anew"),
            Self::ReplaceCertificate(host) => write!(f, "replace the certificate of {host}"),
            Self::Damage(host, damage, pick) => write!(f, "on {host}: {damage:?} {pick:08x}"),
            Self::LoseNamespace(instance) => write!(f, "remove the namespace of {instance}"),
            Self::RemakeNamespace(instance) => write!(f, "make the namespace of {instance} anew"),
            Self::FillServerDisk => f.write_str("fill the server's disk"),
            Self::FreeServerDisk => f.write_str("free the server's disk"),
            Self::FillAgentDisk(host) => write!(f, "fill the disk of {host}"),
            Self::FreeAgentDisk(host) => write!(f, "free the disk of {host}"),
            Self::Storm(instance, frames) => write!(f, "{instance} storms with {frames} broadcasts"),
        }
    }
}
