use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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

/// Where the server serves the sync protocol: on this machine only, until hosts can prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP on a loopback address.
    Loopback(SocketAddr),
}

/// The text is not a server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither unix:/path/of/socket nor http://127.0.0.1:port")]
pub struct ServerAddressError(pub String);

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let refusal = || ServerAddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(refusal()) };
        }
        let authority = text.strip_prefix("http://").ok_or_else(refusal)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let address = match authority.strip_prefix("localhost:") {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| refusal())?)),
            None => authority.parse().map_err(|_| refusal())?,
        };
        if IpAddr::is_loopback(&address.ip()) { Ok(Self::Loopback(address)) } else { Err(refusal()) }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => write!(f, "http://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_on_loopback() {
        let parse = |text: &str| text.parse::<ServerAddress>().map(|a| a.to_string());
        assert_eq!(parse("unix:/run/privnet.sock"), Ok("unix:/run/privnet.sock".to_owned()));
        assert_eq!(parse("unix:///run/privnet.sock"), Ok("unix:/run/privnet.sock".to_owned()));
        assert_eq!(parse("http://127.0.0.1:4000/"), Ok("http://127.0.0.1:4000".to_owned()));
        assert_eq!(parse("http://localhost:4000"), Ok("http://127.0.0.1:4000".to_owned()));
        assert_eq!(parse("http://[::1]:4000"), Ok("http://[::1]:4000".to_owned()));
        for bad in ["", "unix:", "unix:relative", "http://127.0.0.1", "http://192.0.2.1:4000", "https://127.0.0.1:1"] {
            assert_eq!(parse(bad), Err(ServerAddressError(bad.to_owned())));
        }
    }
}
