//! Two hosts, joined by a wire.

use anyhow::Result;
use privnet_lab::Lab;

/// A lab of two hosts on which nothing runs yet, whose underlay devices are the two ends of a veth pair.
///
/// The bridge that joins a lab's hosts otherwise stands for a switch. A switch's work costs hosts
/// nothing; on this machine it would, and blur what is compared.
pub(crate) fn two_wired_hosts() -> Result<Lab> {
    let lab = Lab::builder().hosts(2).prepare()?;
    let (device, peer) = (lab.host(1).underlay_device, lab.host(2).namespace.name());
    for host in lab.hosts() {
        host.namespace.ip(&format!("link delete {device}"))?;
    }
    lab.host(1).namespace.ip(&format!("link add {device} type veth peer name {device} netns {peer}"))?;
    for host in lab.hosts() {
        host.namespace.ip(&format!("address add {}/24 dev {device}", host.vtep))?;
        host.namespace.ip(&format!("link set {device} up"))?;
    }
    Ok(lab)
}
