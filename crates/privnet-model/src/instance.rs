use std::fmt;
use std::path::{Path, PathBuf};

use crate::{HostId, HostName, InstanceId, InstanceTypeId, Labels, Name, OrganizationId, Tap, TemplateId, Timestamp};

/// A workload on a host: what ports are attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Given at creation.
    pub id: InstanceId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Not unique.
    pub name: Name,
    /// Where it runs.
    pub host: HostId,
    /// How its ports are plugged in there.
    pub placement: Placement,
    /// Who makes the workload there, and takes it away again.
    pub driver: Driver,
    /// Whether its ports shall be plugged in.
    pub power: Power,
    /// How often it was rebooted. A port that was plugged in before the last time is plugged in anew.
    pub reboots: u32,
    /// Whether it must not be deleted.
    pub is_protected: bool,
    /// What it is said to be.
    pub properties: InstanceProperties,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// Who makes an instance on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// Somebody else: it exists, or is to arrive, where its placement says.
    External,
    /// The host's agent: a network namespace, with its loopback device up.
    Netns,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::External, Self::Netns];

    /// The driver's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Netns => "netns",
        }
    }

    /// The driver whose [`as_str`](Self::as_str) is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.as_str() == text)
    }
}

/// Whether an instance's ports shall be plugged in. Running -> Stopped by stop, and back by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// They are.
    Running,
    /// They are not: MAC addresses and leases stay theirs.
    Stopped,
}

impl Power {
    /// The API's word for an instance's state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }

    /// The state whose [`as_str`](Self::as_str) is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Stopped].into_iter().find(|power| power.as_str() == text)
    }
}

/// What a client has said about an instance. It is kept and shown, and changes nothing on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceProperties {
    /// How large it is said to be.
    pub instance_type: InstanceTypeId,
    /// What it is said to be made of.
    pub template: TemplateId,
    /// In GiB, 10 to 51200.
    pub disk_size_gib: u32,
    /// What it is connected to besides private networks.
    pub public_ip: PublicIp,
    /// The names of SSH keys.
    pub ssh_keys: Vec<Name>,
    /// What it is to make of itself.
    pub user_data: Option<UserData>,
    /// The user's own.
    pub labels: Labels,
    /// Whether it is said to boot only what is signed.
    pub has_secure_boot: bool,
    /// Whether it is said to have a Trusted Platform Module.
    pub has_tpm: bool,
}

/// What an instance's image is told, as it was given: base64, of whatever. It may have secrets, and is not printed
/// by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(Box<str>);

impl UserData {
    /// What somebody has given.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserData({} octets)", self.0.len())
    }
}

/// Which public addresses an instance is said to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicIp {
    /// None.
    None,
    /// One of IPv4.
    Inet4,
    /// One of IPv4 and one of IPv6.
    Dual,
}

impl PublicIp {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Inet4, Self::Dual];

    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Inet4 => "inet4",
            Self::Dual => "dual",
        }
    }

    /// The one whose [`as_str`](Self::as_str) is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|public_ip| public_ip.as_str() == text)
    }
}

impl InstanceProperties {
    /// The least that an instance may have, in GiB.
    pub const DISK_SIZE_GIB_MIN: u32 = 10;

    /// The most, in GiB.
    pub const DISK_SIZE_GIB_MAX: u32 = 51_200;

    /// Those of a workload that privnet has not made and knows nothing of.
    pub const fn unknown() -> Self {
        Self {
            instance_type: InstanceTypeId::UNKNOWN,
            template: TemplateId::WORKLOAD,
            disk_size_gib: Self::DISK_SIZE_GIB_MIN,
            public_ip: PublicIp::None,
            ssh_keys: Vec::new(),
            user_data: None,
            labels: Labels::new(),
            has_secure_boot: false,
            has_tpm: false,
        }
    }
}

/// An id of the built-in catalogue: always the same, and none that is ever drawn.
const fn numbered(number: u128) -> [u8; 16] {
    (0x7072_6976_6e65_4000_8000_0000_0000_0000 + number).to_be_bytes()
}

impl InstanceTypeId {
    /// That of a workload which privnet has not made: nobody knows how large it is.
    pub const UNKNOWN: Self = Self::built_in(1);

    /// Of the built-in catalogue.
    pub const fn built_in(number: u8) -> Self {
        Self::from_bytes(numbered(number as u128))
    }
}

impl TemplateId {
    /// That of a workload which privnet has not made.
    pub const WORKLOAD: Self = Self::built_in(101);

    /// Of the built-in catalogue.
    pub const fn built_in(number: u8) -> Self {
        Self::from_bytes(numbered(number as u128))
    }
}

/// How an instance's ports are plugged in on its host: the port kind and what that kind needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Placement {
    /// A veth pair, one end in this network namespace.
    Netns(Netns),
    /// A persistent tap device of the host, for somebody to open, such as a virtual machine's monitor.
    Tap(Tap),
}

impl Placement {
    /// The port kind's name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Netns(_) => "netns",
            Self::Tap(_) => "tap",
        }
    }
}

/// A network namespace of a host, by the name that `ip netns` shows or by the path of its file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(Box<str>);

/// What the names of namespaces begin with that agents make.
const MADE_PREFIX: &str = "privnet-";

/// Where runtimes keep the namespaces of containers: containerd, CRI-O and podman as `ip netns` does, and docker.
const RUNTIMES_FOLDERS: [&str; 4] = ["/run/netns", "/var/run/netns", "/run/docker/netns", "/var/run/docker/netns"];

/// The text names no network namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a network namespace's name (1 to 255 octets without \"/\") nor an absolute path to one")]
pub struct NetnsError(pub String);

impl Netns {
    /// The one that the agent of a host makes for an instance. It has the host in its name so that, where two
    /// hosts are namespaces of one machine, an instance can be moved from one to the other.
    pub fn of_instance(host: &HostName, instance: InstanceId) -> Self {
        Self(format!("{MADE_PREFIX}{host}-{instance}").into())
    }

    /// That of the process with this number that has started so many clock ticks after its host: another process that
    /// gets the number later is not meant. Written `pid:NUMBER@TICKS`.
    pub fn of_process(number: u32, started_ticks: u64) -> Self {
        Self(format!("pid:{number}@{started_ticks}").into())
    }

    /// The process whose namespace it is, and when that has started, if it is given so.
    pub fn process(&self) -> Option<(u32, u64)> {
        let (number, started_ticks) = self.0.strip_prefix("pid:")?.split_once('@')?;
        Some((number.parse().ok()?, started_ticks.parse().ok()?))
    }

    /// As given: a name or an absolute path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file to open: a name stands for a file under /run/netns, as for `ip netns` (ip-netns(8)).
    pub fn path(&self) -> PathBuf {
        if let Some((number, _)) = self.process() {
            return PathBuf::from(format!("/proc/{number}/ns/net"));
        }
        Self::path_of_names().join(&*self.0)
    }

    /// Whether it is a path to the namespace of whichever process has a number, such as `/proc/4711/ns/net`.
    pub fn is_by_process_number(&self) -> bool {
        let path = Path::new(&*self.0).strip_prefix("/proc").ok().and_then(|rest| rest.components().next());
        path.and_then(|first| first.as_os_str().to_str()).is_some_and(|first| first.parse::<u32>().is_ok())
    }

    /// Whether container runtimes may have made it: it is a process's, or in one of their folders, and not by the name
    /// of one that an agent makes.
    pub fn is_of_runtimes(&self) -> bool {
        let path = self.path();
        let is_in_folder =
            path.parent().is_some_and(|folder| RUNTIMES_FOLDERS.iter().any(|one| Path::new(one) == folder));
        let is_made =
            || path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(MADE_PREFIX.as_bytes()));
        self.process().is_some() || is_in_folder && !is_made()
    }

    /// The folder in which names stand.
    pub fn path_of_names() -> &'static Path {
        Path::new("/run/netns")
    }
}

impl TryFrom<&str> for Netns {
    type Error = NetnsError;

    fn try_from(text: &str) -> Result<Self, NetnsError> {
        let is_name = !text.contains('/') && !matches!(text, "" | "." | "..") && text.len() <= 255;
        let is_path = text.starts_with('/')
            && text.len() < 4096
            && !Path::new(text).components().any(|part| part == std::path::Component::ParentDir);
        if (is_name || is_path) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(NetnsError(text.to_owned()))
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_user_data_says_is_not_printed() {
        let properties =
            InstanceProperties { user_data: Some(UserData::new("cGFzc3dk")), ..InstanceProperties::unknown() };
        let printed = format!("{properties:?}");
        assert!(printed.contains("UserData(8 octets)") && !printed.contains("cGFzc3dk"), "{printed}");
    }

    #[test]
    fn a_namespace_is_a_name_or_an_absolute_path() {
        let path = |text: &str| Netns::try_from(text).map(|n| n.path());
        assert_eq!(path("web1"), Ok(PathBuf::from("/run/netns/web1")));
        assert_eq!(path("/proc/123/ns/net"), Ok(PathBuf::from("/proc/123/ns/net")));
        let process = Netns::of_process(123, 45_678);
        assert_eq!((process.path(), process.process()), (PathBuf::from("/proc/123/ns/net"), Some((123, 45_678))));
        assert_eq!(Netns::try_from(process.as_str()), Ok(process));
        let host = HostName::try_from("x".repeat(64).as_str()).expect("valid");
        let made = Netns::of_instance(&host, InstanceId::MAX);
        assert_eq!(Netns::try_from(made.as_str()), Ok(made));
        for by_number in ["/proc/123/ns/net", "//proc/./123/task/123/ns/net", "/proc/1/root/run/netns/web1"] {
            assert!(Netns::try_from(by_number).expect("a path").is_by_process_number(), "{by_number}");
        }
        for other in ["/proc/self/ns/net", "pid:123@45678", "123", "/run/netns/123", "/procs/123"] {
            assert!(!Netns::try_from(other).expect("a namespace").is_by_process_number(), "{other}");
        }
        for bad in ["", ".", "..", "a/b", "/run/netns/../x", "a\nb", "./x"] {
            assert_eq!(path(bad), Err(NetnsError(bad.to_owned())));
        }
    }
}
