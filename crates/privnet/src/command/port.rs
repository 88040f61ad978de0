use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::operation;
use super::resolve::{INSTANCE, NETWORK};
use crate::args::{DeviceArgs, PortArgs, WaitArgs};
use crate::client::{list, text};
use crate::exit::Failure;

pub(super) fn attach(
    port: &PortArgs,
    ip: Option<&str>,
    device: DeviceArgs,
    wait: WaitArgs,
    context: &Context,
) -> Result<(), Failure> {
    let ends = Ends::find(port, context)?;
    let accepted = match device {
        DeviceArgs { device: None, configure: false } => ends.act("attach", ip, context)?,
        device => ends.attach_device(ip, device, context)?,
    };
    operation::finish(accepted, wait, context, |_| {
        format!("{} is attached to {}{}", port.instance, port.network, ends.address(context))
    })
}

pub(super) fn detach(port: &PortArgs, wait: WaitArgs, context: &Context) -> Result<(), Failure> {
    let accepted = Ends::find(port, context)?.act("detach", None, context)?;
    operation::finish(accepted, wait, context, |_| format!("{} is detached from {}", port.instance, port.network))
}

pub(super) fn update_ip(port: &PortArgs, ip: Option<&str>, wait: WaitArgs, context: &Context) -> Result<(), Failure> {
    let ends = Ends::find(port, context)?;
    let accepted = ends.act("update-ip", ip, context)?;
    operation::finish(accepted, wait, context, |_| {
        format!("{} in {}{}", port.instance, port.network, ends.address(context))
    })
}

/// A port's two ends, by id.
struct Ends {
    instance: String,
    network: String,
}

impl Ends {
    fn find(port: &PortArgs, context: &Context) -> Result<Self, Failure> {
        let network = NETWORK.id(&context.client, &port.network)?;
        Ok(Self { network, instance: INSTANCE.id(&context.client, &port.instance)? })
    }

    fn attach_device(&self, ip: Option<&str>, device: DeviceArgs, context: &Context) -> Result<Value, Failure> {
        let mut body = self.body(ip);
        body["configure"] = device.configure.into();
        if let Some(name) = device.device {
            body["device"] = name.into();
        }
        let path = format!("/privnet/v1/private-networks/{}:attach", self.network);
        context.client.request(Method::PUT, &path, Some(&body))
    }

    fn body(&self, ip: Option<&str>) -> Value {
        let mut body = json!({"instance": {"id": self.instance}});
        if let Some(ip) = ip {
            body["ip"] = ip.into();
        }
        body
    }

    fn act(&self, action: &str, ip: Option<&str>, context: &Context) -> Result<Value, Failure> {
        let body = self.body(ip);
        context.client.request(Method::PUT, &format!("/v2/private-network/{}:{action}", self.network), Some(&body))
    }

    /// The address that the port has now, for people.
    fn address(&self, context: &Context) -> String {
        let network = context.client.get(&format!("/v2/private-network/{}", self.network)).unwrap_or_default();
        let lease = list(&network, "leases").iter().find(|lease| text(lease, "instance-id") == self.instance);
        lease.map(|lease| format!(", address {}", text(lease, "ip"))).unwrap_or_default()
    }
}
