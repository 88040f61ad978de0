//! A lab to be used by hand: instances with addresses, and a note of what is where.

use anyhow::{Context, Result};
use serde_json::json;

use crate::dhcp::{DhcpClient, DhcpClientKind};
use crate::lab::{Instance, Lab, LabBuilder};
use crate::note::{Note, Place};

/// The network that joins the instances.
pub const NETWORK: &str = "lab";

/// How many instances a cloud may have: so many addresses its network leases.
pub const INSTANCES_MAX: u8 = 200;

/// Hosts, and instances that reach each other.
#[derive(Debug)]
pub struct Cloud {
    lab: Lab,
    note: Note,
    _clients: Vec<DhcpClient>,
}

impl Cloud {
    /// Starts a lab with so many instances, `i1` and so on, one host after the other. All are attached to
    /// [`NETWORK`] and have their addresses by DHCP.
    ///
    /// # Errors
    /// Those of [`LabBuilder::start`], or an instance cannot be made. Nothing is left behind.
    pub fn start(builder: LabBuilder, instances: u8) -> Result<Self> {
        let mut lab = builder.start()?;
        let guests = guests(&mut lab, instances)?;
        let clients = guests.iter().map(|guest| lab.dhcp_client(guest, "net0", DhcpClientKind::Udhcpc));
        let clients = clients.collect::<Result<Vec<_>>>()?;
        let hosts = lab.hosts().iter().map(|host| {
            Ok(Place {
                name: host.name.clone(),
                host: None,
                address: host.vtep.to_string(),
                netns: host.namespace.name().to_owned(),
            })
        });
        let instances = guests.iter().zip(&clients).map(|(guest, client)| {
            let lease = client.wait_for_lease().with_context(|| format!("{} has no address", guest.name))?;
            Ok(Place {
                name: guest.name.clone(),
                host: Some(lab.host(guest.host).name.clone()),
                address: lease.address.to_string(),
                netns: guest.namespace.name().to_owned(),
            })
        });
        let note = Note {
            lab: lab.id().to_owned(),
            pid: std::process::id().cast_signed(),
            url: lab.api().url().to_owned(),
            dir: lab.dir().display().to_string(),
            server_dir: lab.server_dir().display().to_string(),
            places: hosts.chain(instances).collect::<Result<_>>()?,
        };
        note.write(lab.run_dir())?;
        Ok(Self { lab, note, _clients: clients })
    }

    /// What is where.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(self) -> Result<()> {
        self.lab.remove()
    }
}

/// Makes the instances and attaches them.
fn guests(lab: &mut Lab, count: u8) -> Result<Vec<Instance>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let network = lab.api().create_network(&json!({
        "name": NETWORK,
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.209", "netmask": "255.255.255.0",
    }))?;
    let hosts = lab.hosts().len();
    (0..usize::from(count))
        .map(|number| {
            let guest = lab.add_instance(&format!("i{}", number + 1), 1 + number % hosts)?;
            lab.api().attach(&network, &guest.id, None)?;
            Ok(guest)
        })
        .collect()
}
