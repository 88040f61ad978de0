use std::fmt;
use std::path::{Path, PathBuf};

use crate::{HostId, InstanceId, Name, OrganizationId, Timestamp};

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
    /// When it was registered.
    pub created_at: Timestamp,
}

/// How an instance's ports are plugged in on its host: the port kind and what that kind needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Placement {
    /// A veth pair, one end in this network namespace.
    Netns(Netns),
}

/// A network namespace of a host, by the name that `ip netns` shows or by the path of its file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Netns(Box<str>);

/// The text names no network namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a network namespace's name (1 to 255 octets without \"/\") nor an absolute path to one")]
pub struct NetnsError(pub String);

impl Netns {
    /// As given: a name or an absolute path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file to open: a name stands for a file under /run/netns, as for `ip netns` (ip-netns(8)).
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&*self.0)
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
    fn a_namespace_is_a_name_or_an_absolute_path() {
        let path = |text: &str| Netns::try_from(text).map(|n| n.path());
        assert_eq!(path("web1"), Ok(PathBuf::from("/run/netns/web1")));
        assert_eq!(path("/proc/123/ns/net"), Ok(PathBuf::from("/proc/123/ns/net")));
        for bad in ["", ".", "..", "a/b", "/run/netns/../x", "a\nb", "./x"] {
            assert_eq!(path(bad), Err(NetnsError(bad.to_owned())));
        }
    }
}
