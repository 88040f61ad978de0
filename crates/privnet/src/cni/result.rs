//! What a runtime is told of an attachment (specification, section 5, Success).

use std::net::Ipv4Addr;

use privnet_agent::{DeviceState, inspect_device, inspect_port};
use privnet_model::{MacAddr, Subnet};
use serde_json::{Value, json};

use super::attachment::of_namespace;
use super::config::Config;
use super::error::{CniError, Code};
use super::parameters::Parameters;
use super::server::lease;
use crate::client::{list, text};

/// The main scope values of rtnetlink(7): on the link.
const SCOPE_LINK: u32 = 253;

/// What the host has given a device, as the network's state has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressing {
    pub(super) address: Ipv4Addr,
    pub(super) prefix_len: u8,
    /// By which the default route leads.
    pub(super) router: Option<Ipv4Addr>,
    /// Whether that lies outside of the subnet, and has a route of its own.
    pub(super) is_router_outside: bool,
}

impl Addressing {
    /// Of an instance in a network as the API shows it; `None` in an unmanaged one.
    pub(super) fn of(network: &Value, instance: &str) -> Option<Self> {
        let address = lease(network, instance)?.parse().ok()?;
        let subnet = Subnet::new(address, text(network, "netmask").parse().ok()?).ok()?;
        let routers = list(&network["options"], "routers");
        let router =
            routers.first().and_then(|router| router.as_str()?.parse().ok()).filter(|router| *router != address);
        let is_router_outside = router.is_some_and(|router| !subnet.contains(router));
        Some(Self { address, prefix_len: subnet.prefix_len(), router, is_router_outside })
    }

    /// Whether the device has all of it.
    pub(super) fn is_on(&self, device: &DeviceState) -> bool {
        device.has_address(self.address, self.prefix_len)
            && self.router.is_none_or(|router| device.has_route(Ipv4Addr::UNSPECIFIED, 0, Some(router)))
            && (!self.is_router_outside || self.router.is_none_or(|router| device.has_route(router, 32, None)))
    }
}

/// The result of an ADD, with what an earlier plugin of the chain has made.
pub(super) fn of_attachment(
    config: &Config,
    parameters: &Parameters,
    network: &Value,
    instance: &str,
) -> Result<Value, CniError> {
    let netns = parameters.netns.as_ref().expect("ADD has one");
    let name = parameters.device.as_str();
    let device = inspect_device(netns, name).map_err(|error| of_namespace(&error))?;
    let mac = device.as_ref().and_then(|device| device.mac);
    let missing = || CniError::say(Code::Failed, format_args!("{netns} has no device {name} after all"));
    let (device, mac) = device.zip(mac).ok_or_else(missing)?;
    let mut interfaces = part(config, "interfaces");
    interfaces.extend(on_host(mac, config));
    let at = interfaces.len();
    let mut interface = json!({"name": name, "mac": mac.to_string(), "sandbox": netns.as_str()});
    if config.version == "1.1.0" {
        interface["mtu"] = device.mtu_bytes.into();
    }
    interfaces.push(interface);
    let (mut ips, mut routes) = (part(config, "ips"), part(config, "routes"));
    if let Some(addressing) = Addressing::of(network, instance) {
        ips.push(ip(&addressing, at, config));
        routes.extend(routes_of(&addressing, config));
    }
    let dns = dns_of(network).or_else(|| config.dns.clone());
    let previous_dns = config.previous.as_ref().map(|previous| previous["dns"].clone()).filter(Value::is_object);
    Ok(json!({
        "cniVersion": config.version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": dns.or(previous_dns).unwrap_or_else(|| json!({})),
    }))
}

/// What an earlier plugin has told in this part.
fn part(config: &Config, key: &str) -> Vec<Value> {
    config.previous.as_ref().map(|previous| list(previous, key).to_vec()).unwrap_or_default()
}

/// The port's end on the host, where this is the host's network namespace.
fn on_host(port: MacAddr, config: &Config) -> Option<Value> {
    let (name, device) = inspect_port(port).ok().flatten()?;
    let mut interface = json!({"name": name, "mac": device.mac.map(|mac| mac.to_string())});
    if config.version == "1.1.0" {
        interface["mtu"] = device.mtu_bytes.into();
    }
    Some(interface)
}

fn ip(addressing: &Addressing, interface: usize, config: &Config) -> Value {
    let mut ip = json!({
        "address": format!("{}/{}", addressing.address, addressing.prefix_len),
        "interface": interface,
    });
    if let Some(router) = addressing.router {
        ip["gateway"] = router.to_string().into();
    }
    // Versions before 1.0.0 tell which IP version it is.
    if matches!(config.version, "0.3.1" | "0.4.0") {
        ip["version"] = "4".into();
    }
    ip
}

fn routes_of(addressing: &Addressing, config: &Config) -> Vec<Value> {
    let Some(router) = addressing.router else { return Vec::new() };
    let mut routes = Vec::new();
    if addressing.is_router_outside {
        let mut on_link = json!({"dst": format!("{router}/32")});
        if config.version == "1.1.0" {
            on_link["scope"] = SCOPE_LINK.into();
        }
        routes.push(on_link);
    }
    routes.push(json!({"dst": "0.0.0.0/0", "gw": router.to_string()}));
    routes
}

/// What the network's options say of DNS; `None` where that is nothing.
fn dns_of(network: &Value) -> Option<Value> {
    let options = &network["options"];
    let (servers, search) = (list(options, "dns-servers"), list(options, "domain-search"));
    let mut dns = json!({});
    if !servers.is_empty() {
        dns["nameservers"] = servers.into();
    }
    if let Some(domain) = search.first() {
        dns["domain"] = domain.clone();
        dns["search"] = search.into();
    }
    dns.as_object().is_some_and(|dns| !dns.is_empty()).then_some(dns)
}
