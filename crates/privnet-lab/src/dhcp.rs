//! Unmodified DHCP clients, told to configure one device of one namespace and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::interrupt::wait_for;
use crate::namespace::Namespace;
use crate::process::Daemon;

/// A client that is answered has its lease well within this.
const LEASE_TIMEOUT: Duration = Duration::from_secs(20);

/// What clients call at each event; see the script.
const EVENT_SCRIPT: &str = include_str!("dhcp-event.sh");

/// What dhclient asks for, and how soon it asks again: for an answer, and to renew and to rebind what it has.
const DHCLIENT_CONFIG: &str = "\
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, domain-search, host-name, interface-mtu, ntp-servers;
initial-interval 1;
retry 1;
supersede dhcp-renewal-time 1;
supersede dhcp-rebinding-time 2;
";

/// Has systemd-networkd configure one device and nothing else: no name servers, no host name, no IPv6.
const NETWORKD_CONFIG: &str = "\
[Match]
Name=@DEVICE@
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
UseMTU=yes
UseDomains=yes
UseHostname=no
UseTimezone=no
SendHostname=no
ClientIdentifier=mac
";

/// Starts systemd-networkd with a /run of its own, where its configuration is and its leases will be. A /sys
/// that is read-only has it do without udev, as in a container.
const NETWORKD_COMMAND: &str = "\
mount --bind \"$1\" /run && mount -t sysfs -o ro sysfs /sys && exec /usr/lib/systemd/systemd-networkd";

/// Which DHCP client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpClientKind {
    /// BusyBox's.
    Udhcpc,
    /// ISC's.
    Dhclient,
    /// systemd's, as cloud images have it.
    Networkd,
}

/// A running DHCP client. It ends, without a word to the server, when this is dropped.
#[derive(Debug)]
pub struct DhcpClient {
    kind: DhcpClientKind,
    device: String,
    daemon: Daemon,
    dir: PathBuf,
    events: PathBuf,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpEvent {
    /// The client's word for it: `bound` or `BOUND`, `renew` or `RENEW`, `deconfig`, `nak` and so on.
    pub what: String,
    /// The variables that the client gave its script, which each client names its own way.
    pub variables: BTreeMap<String, String>,
}

/// A lease as the client understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpLease {
    /// The address, which is configured on the device now.
    pub address: Ipv4Addr,
    /// Everything else that came with it: see [`DhcpEvent::variables`].
    pub variables: BTreeMap<String, String>,
}

impl DhcpClient {
    /// Starts a client on a device. Its own files lie in `dir`; a lease it finds there it asks for
    /// again (dhclient: INIT-REBOOT).
    pub(crate) fn start(kind: DhcpClientKind, namespace: &Namespace, device: &str, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let (events, script) = (dir.join("events"), dir.join("event.sh"));
        fs::write(&events, "")?;
        fs::write(&script, EVENT_SCRIPT.replace("@EVENTS@", &events.display().to_string()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let script = script.display().to_string();
        let mut command = match kind {
            DhcpClientKind::Udhcpc => {
                let mut command = namespace.command("udhcpc");
                command.args(["-f", "-i", device, "-s", &script, "-t", "20", "-T", "1", "-A", "1"]);
                command.args(["-O", "mtu", "-O", "ntpsrv", "-O", "search"]);
                command
            }
            DhcpClientKind::Networkd => {
                let run = dir.join("run");
                if run.exists() {
                    fs::remove_dir_all(&run)?;
                }
                let config = run.join("systemd/network");
                fs::create_dir_all(&config)?;
                fs::write(config.join("lab.network"), NETWORKD_CONFIG.replace("@DEVICE@", device))?;
                let mut command = namespace.command("unshare");
                command.args(["--mount", "sh", "-c", NETWORKD_COMMAND, "sh", &run.display().to_string()]);
                command
            }
            DhcpClientKind::Dhclient => {
                let file = |name: &str| dir.join(name).display().to_string();
                fs::write(dir.join("dhclient.conf"), DHCLIENT_CONFIG)?;
                let mut command = namespace.command(&unconfined_dhclient(dir)?);
                command.args(["-4", "-d", "-sf", &script, "-cf", &file("dhclient.conf")]);
                command.args(["-lf", &file("leases"), "-pf", &file("pid"), device]);
                command
            }
        };
        let what = format!("{kind:?} on {device} of {}", namespace.name());
        let daemon = Daemon::start(what, &mut command, &dir.join("log"))?;
        Ok(Self { kind, device: device.to_owned(), daemon, dir: dir.to_owned(), events })
    }

    /// Ends it and starts it again with the same files.
    pub(crate) fn restart(self, namespace: &Namespace) -> Result<Self> {
        let Self { kind, device, daemon, dir, .. } = self;
        daemon.kill();
        Self::start(kind, namespace, &device, &dir)
    }

    /// Which client it is.
    pub fn kind(&self) -> DhcpClientKind {
        self.kind
    }

    /// Everything it was told so far, in order; nothing of systemd-networkd, which keeps no record.
    pub fn events(&self) -> Vec<DhcpEvent> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        // What follows the last empty line is still being written.
        let Some((complete, _)) = text.rsplit_once("\n\n") else { return Vec::new() };
        complete.split("\n\n").filter_map(parse_event).collect()
    }

    /// The lease it holds now, if any.
    pub fn lease(&self) -> Option<DhcpLease> {
        match self.kind {
            DhcpClientKind::Udhcpc | DhcpClientKind::Dhclient => {
                self.events().iter().rev().find_map(DhcpEvent::outcome).flatten()
            }
            // It calls no script, but writes what it holds to a file named by the device's index.
            DhcpClientKind::Networkd => {
                let file = fs::read_dir(self.dir.join("run/systemd/netif/leases")).ok()?.next()?.ok()?;
                lease_of(variables(fs::read_to_string(file.path()).ok()?.lines()))
            }
        }
    }

    /// Waits until it holds a lease.
    ///
    /// # Errors
    /// It gets none in time, or has ended; the message quotes its log.
    pub fn wait_for_lease(&self) -> Result<DhcpLease> {
        self.wait_for("no lease", Self::lease)
    }

    /// Waits until it holds a lease of this address.
    ///
    /// # Errors
    /// As [`wait_for_lease`](Self::wait_for_lease).
    pub fn wait_for_address(&self, address: Ipv4Addr) -> Result<DhcpLease> {
        let held = |client: &Self| client.lease().filter(|lease| lease.address == address);
        self.wait_for(&format!("no lease of {address}"), held)
    }

    /// Makes it renew its lease now, as it does by itself at half of the lease's time. udhcpc only: dhclient
    /// renews it every second or so, and systemd-networkd asks again when it is started again.
    ///
    /// # Errors
    /// It has ended, or is another client.
    pub fn renew(&self) -> Result<()> {
        match self.kind {
            DhcpClientKind::Udhcpc => self.daemon.signal(Signal::SIGUSR1),
            other => bail!("{other:?} renews when it wants to"),
        }
    }

    /// Makes it give its lease back (DHCPRELEASE). udhcpc only.
    ///
    /// # Errors
    /// It has ended, or is another client.
    pub fn release(&self) -> Result<()> {
        match self.kind {
            DhcpClientKind::Udhcpc => self.daemon.signal(Signal::SIGUSR2),
            other => bail!("{other:?} cannot be told to release its lease"),
        }
    }

    /// Ends it, without a word to the server. What it remembers stays, for one that is started again.
    ///
    /// # Errors
    /// It has ended.
    pub fn kill(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGKILL)
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    fn wait_for(&self, what: &str, held: impl Fn(&Self) -> Option<DhcpLease>) -> Result<DhcpLease> {
        wait_for(|| what.to_owned(), LEASE_TIMEOUT, || Ok(held(self))).map_err(|error| self.daemon.explain(error))
    }
}

impl DhcpEvent {
    /// What it says about the lease: `Some(None)` is that there is none, `None` is nothing.
    fn outcome(&self) -> Option<Option<DhcpLease>> {
        match self.what.as_str() {
            "bound" | "renew" | "BOUND" | "RENEW" | "REBIND" | "REBOOT" => Some(self.lease()),
            "deconfig" | "PREINIT" | "EXPIRE" | "FAIL" | "RELEASE" | "STOP" => Some(None),
            _ => None,
        }
    }

    fn lease(&self) -> Option<DhcpLease> {
        lease_of(self.variables.clone())
    }
}

fn lease_of(variables: BTreeMap<String, String>) -> Option<DhcpLease> {
    let address = ["ip", "new_ip_address", "ADDRESS"].iter().find_map(|name| variables.get(*name))?;
    Some(DhcpLease { address: address.parse().ok()?, variables })
}

fn variables<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let variable = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.filter_map(variable).collect()
}

fn parse_event(text: &str) -> Option<DhcpEvent> {
    let mut lines = text.trim_start_matches('\n').lines();
    let what = lines.next()?.to_owned();
    Some(DhcpEvent { what, variables: variables(lines) })
}

/// Where AppArmor confines dhclient to its distribution's own script and lease files, a copy of it
/// under another path is not confined (as on Ubuntu).
fn unconfined_dhclient(dir: &Path) -> Result<String> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() != "Y" {
        return Ok("dhclient".to_owned());
    }
    let installed = ["/usr/sbin/dhclient", "/sbin/dhclient"].map(Path::new).into_iter().find(|path| path.exists());
    let copy = dir.join("dhclient");
    fs::copy(installed.context("dhclient is not installed")?, &copy).context("cannot copy dhclient")?;
    Ok(copy.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease_after(events: &str) -> Option<String> {
        let events: Vec<_> = events.split("\n\n").filter_map(parse_event).collect();
        let lease = events.iter().rev().find_map(DhcpEvent::outcome).flatten();
        lease.map(|lease| lease.address.to_string())
    }

    #[test]
    fn the_lease_held_is_what_the_last_word_about_it_says() {
        assert_eq!(lease_after("deconfig\ninterface=net0"), None);
        assert_eq!(lease_after("deconfig\nA=b\n\nbound\nip=10.0.0.7\nmask=24").as_deref(), Some("10.0.0.7"));
        assert_eq!(lease_after("bound\nip=10.0.0.7\n\nleasefail\nX=1").as_deref(), Some("10.0.0.7"));
        assert_eq!(lease_after("bound\nip=10.0.0.7\n\ndeconfig\nX=1"), None);
        assert_eq!(lease_after("PREINIT\n\nBOUND\nnew_ip_address=10.0.0.8").as_deref(), Some("10.0.0.8"));
    }
}
