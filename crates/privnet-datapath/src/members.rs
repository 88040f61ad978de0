//! Which devices and VTEPs a network's BUM frames go to: slots of two maps, and how many of them are
//! in use in the network's own entry.
//!
//! Programs read them at any moment. A change keeps whoever stays in its slot, or writes its new slot
//! before the number of slots shrinks, so that no frame misses one that stays; a slot that is not in
//! use any more keeps what it had, so that a program on its way through the old number of slots meets
//! nobody who was no member.

use std::collections::BTreeSet;

use privnet_model::Vni;

use crate::KernelError;
use crate::layout::{MemberKey, Network};
use crate::tables::{Table, Tables};

/// A network's members on this host, as the maps have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// The indexes of open ports' devices.
    pub(crate) local: BTreeSet<u32>,
    /// As [`crate::layout::vtep_octets`] writes them.
    pub(crate) remote: BTreeSet<[u8; 16]>,
}

impl Members {
    /// How many there are, local and remote.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.local.len() as u32, self.remote.len() as u32)
    }
}

impl Tables {
    /// Makes these the members of a network, which has an entry already or gets this one.
    pub(crate) fn set_network(&mut self, vni: Vni, network: Network, members: &Members) -> Result<(), KernelError> {
        let held = self.networks.get(&vni.get())?.unwrap_or_default();
        let local_members = set_slots(&mut self.local_members, vni, held.local_members, &members.local)?;
        let remote: BTreeSet<_> =
            members.remote.iter().map(|vtep| crate::layout::RemoteMember { vtep: *vtep }).collect();
        let remote_members = set_slots(&mut self.remote_members, vni, held.remote_members, &remote)?;
        self.networks.set(vni.get(), Network { local_members, remote_members, ..network })
    }

    /// Changes a network's members, if `change` says that it has; does nothing if the network has no
    /// entry of its own.
    pub(crate) fn change_members(
        &mut self,
        vni: Vni,
        change: impl FnOnce(&mut Members) -> bool,
    ) -> Result<Option<()>, KernelError> {
        let Some(network) = self.networks.get(&vni.get())? else { return Ok(None) };
        let mut members = Members {
            local: slots(&self.local_members, vni, network.local_members)?.into_iter().flatten().collect(),
            remote: slots(&self.remote_members, vni, network.remote_members)?
                .into_iter()
                .flatten()
                .map(|member| member.vtep)
                .collect(),
        };
        if change(&mut members) {
            self.set_network(vni, network, &members)?;
        }
        Ok(Some(()))
    }

    /// The members that a network has according to its ports and VTEPs.
    pub(crate) fn members_by_ports_and_vteps(&self, vni: Vni) -> Result<Members, KernelError> {
        let ports = self.ports.entries()?.into_iter().filter(|(_, port)| port.vni == vni.get() && port.open != 0);
        let vteps = self.vteps.entries()?.into_iter().filter(|(key, _)| key.vni == vni.get());
        Ok(Members {
            local: ports.map(|(ifindex, _)| ifindex).collect(),
            remote: vteps.map(|(key, _)| key.address).collect(),
        })
    }

    /// Removes a network's entry and all of its slots.
    pub(crate) fn remove_network(&mut self, vni: Vni) -> Result<(), KernelError> {
        self.networks.remove(&vni.get())?;
        remove_slots(&mut self.local_members, vni)?;
        remove_slots(&mut self.remote_members, vni)
    }
}

fn slots<T>(table: &Table<MemberKey, T>, vni: Vni, count: u32) -> Result<Vec<Option<T>>, KernelError>
where
    T: aya::Pod + Default,
{
    (0..count).map(|slot| table.get(&MemberKey { vni: vni.get(), slot })).collect()
}

fn set_slots<T>(
    table: &mut Table<MemberKey, T>,
    vni: Vni,
    in_use: u32,
    members: &BTreeSet<T>,
) -> Result<u32, KernelError>
where
    T: aya::Pod + Default + Ord,
{
    let held = slots(table, vni, in_use)?;
    let arranged = arrange(&held, members);
    for (slot, member) in arranged.iter().enumerate() {
        if held.get(slot) != Some(&Some(*member)) {
            table.set(MemberKey { vni: vni.get(), slot: slot as u32 }, *member)?;
        }
    }
    Ok(arranged.len() as u32)
}

fn remove_slots<T>(table: &mut Table<MemberKey, T>, vni: Vni) -> Result<(), KernelError>
where
    T: aya::Pod + Default,
{
    let keys = table.entries()?.into_iter().map(|(key, _)| key).filter(|key| key.vni == vni.get());
    keys.collect::<Vec<_>>().iter().try_for_each(|key| table.remove(key))
}

/// What the slots shall hold. Whoever has a slot that stays in use keeps it.
fn arrange<T: Copy + Ord>(held: &[Option<T>], members: &BTreeSet<T>) -> Vec<T> {
    let mut homeless = members.clone();
    let kept: Vec<_> = (0..members.len())
        .map(|slot| held.get(slot).copied().flatten().filter(|member| homeless.remove(member)))
        .collect();
    let mut homeless = homeless.into_iter();
    kept.into_iter().filter_map(|member| member.or_else(|| homeless.next())).collect()
}
