//! What is on a host and not ours: nothing of it may ever be touched (invariant 7).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Host;
use crate::namespace::Namespace;

/// Devices of somebody else, one of which only looks like ours.
const DEVICES: [&str; 3] = ["canary0", "pnic0", "vx7"];

/// Somebody else's things on one host.
pub(crate) struct Canary {
    namespace: Namespace,
    underlay_device: &'static str,
    pins: PathBuf,
    before: Sight,
}

/// What can be seen of them.
#[derive(Debug, PartialEq)]
struct Sight {
    devices: Vec<Value>,
    filters: Vec<String>,
    is_pinned: bool,
}

impl Canary {
    /// Puts them on a host.
    pub(crate) fn put_on(lab: &str, host: &Host) -> Result<Self> {
        let (ns, under) = (&host.namespace, host.underlay_device);
        ns.ip("link add canary0 type veth peer name pnic0")?;
        ns.ip("link set canary0 up")?;
        ns.ip(&format!("link add vx7 type vxlan id 7 dstport 4790 local {} dev {under}", host.vtep))?;
        for device in ["canary0", under] {
            ns.run("tc", &["qdisc", "add", "dev", device, "clsact"])?;
            // One that matches nothing, so that it is in nobody's way.
            let rule = "protocol all u32 match u32 0xffffffff 0xffffffff at 0 flowid 1:1";
            let words = ["filter", "add", "dev", device, "ingress", "pref", "77"].into_iter().chain(rule.split(' '));
            ns.run("tc", &words.collect::<Vec<_>>())?;
        }
        let pins = host.pin_dir.with_file_name(format!("privnet-lab-{lab}-{}-other", host.name));
        fs::create_dir(&pins).with_context(|| format!("cannot make {}", pins.display()))?;
        let mut canary = Self {
            namespace: ns.clone(),
            underlay_device: under,
            pins,
            before: Sight { devices: Vec::new(), filters: Vec::new(), is_pinned: true },
        };
        canary.before = canary.look()?;
        Ok(canary)
    }

    /// # Errors
    /// They are not as they were.
    pub(crate) fn check(&self) -> Result<()> {
        let now = self.look()?;
        let name = self.namespace.name();
        ensure!(now == self.before, "(7) what is not ours in {name} was {:#?} and is {now:#?}", self.before);
        Ok(())
    }

    fn look(&self) -> Result<Sight> {
        let devices =
            self.namespace.links()?.into_iter().filter(|link| DEVICES.iter().any(|one| link["ifname"] == *one));
        let described =
            |link: Value| ["ifname", "ifindex", "address", "mtu", "flags", "ifalias"].map(|key| link[key].clone());
        let filters = ["canary0", self.underlay_device].map(|device| {
            let shown = self.namespace.run("tc", &["filter", "show", "dev", device, "ingress", "pref", "77"])?;
            Ok(shown)
        });
        Ok(Sight {
            devices: devices.map(|link| Value::from(described(link).to_vec())).collect(),
            filters: filters.into_iter().collect::<Result<_>>()?,
            is_pinned: self.pins.exists(),
        })
    }
}
