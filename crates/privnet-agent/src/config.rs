use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use privnet_model::HostName;

/// What an agent must know before it starts.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The host's name, its own in the zone.
    pub host: HostName,
    /// Who tells it what is wanted.
    pub server: ServerAddress,
    /// What it proves by who it is, to a server by TLS.
    pub identity_file: PathBuf,
    /// Where its own copy of that is kept. It is made if it does not exist; one agent at a time may use it.
    pub state_dir: PathBuf,
    /// The underlay address that other hosts send to; `None`: [`privnet_datapath::default_vtep`].
    pub vtep: Option<IpAddr>,
    /// The UDP port of the underlay's VXLAN frames, the same on all hosts.
    pub vxlan_port: u16,
    /// The folder in the BPF file system where programs and maps outlive the agent.
    pub pin_dir: PathBuf,
    /// How many copies of frames to many one port may cause in a second; 0: any number.
    pub bum_copies_per_second: u32,
}

/// Where the server serves the sync protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A Unix socket, on the server's own machine.
    Unix(PathBuf),
    /// TLS.
    Remote(RemoteAddress),
}

/// A server's name or address and its port, written `https://NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAddress {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
    host: String,
    port: u16,
}

/// The text is not a server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither unix:/path/of/socket nor https://name:port")]
pub struct ServerAddressError(pub String);

/// The text is not the address of a server of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not https://name:port")]
pub struct RemoteAddressError(pub String);

impl RemoteAddress {
    /// The name or address, as a resolver takes it, and the port.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl FromStr for RemoteAddress {
    type Err = RemoteAddressError;

    fn from_str(text: &str) -> Result<Self, RemoteAddressError> {
        let parse = || {
            let authority = text.strip_prefix("https://")?;
            let (host, port) = authority.strip_suffix('/').unwrap_or(authority).rsplit_once(':')?;
            let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = match bracketed {
                Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
                None if host.is_empty() || host.contains(['/', ':', '@', '?', '#', '[', ']', ' ']) => return None,
                None => host.to_owned(),
            };
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Self { host, port })
        };
        parse().ok_or_else(|| RemoteAddressError(text.to_owned()))
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let refusal = || ServerAddressError(text.to_owned());
        match text.strip_prefix("unix:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(refusal()) }
            }
            None => text.parse().map(Self::Remote).map_err(|_| refusal()),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Remote(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_name_and_port_by_tls() {
        let parse = |text: &str| text.parse::<ServerAddress>().map(|a| a.to_string());
        assert_eq!(parse("unix:/run/privnet.sock"), Ok("unix:/run/privnet.sock".to_owned()));
        assert_eq!(parse("unix:///run/privnet.sock"), Ok("unix:/run/privnet.sock".to_owned()));
        assert_eq!(parse("https://192.0.2.1:4443/"), Ok("https://192.0.2.1:4443".to_owned()));
        assert_eq!(parse("https://cloud.example.net:4443"), Ok("https://cloud.example.net:4443".to_owned()));
        assert_eq!(parse("https://[2001:db8:0::1]:4443"), Ok("https://[2001:db8::1]:4443".to_owned()));
        for bad in [
            "",
            "unix:",
            "unix:relative",
            "http://127.0.0.1:1",
            "https://192.0.2.1",
            "https://:1",
            "https://a:0",
            "https://a:b",
            "https://2001:db8::1:4443",
            "https://u@a:1",
            "https://a:1/path",
        ] {
            assert_eq!(parse(bad), Err(ServerAddressError(bad.to_owned())));
        }
    }
}
