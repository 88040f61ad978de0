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
use crate::layout::{MemberKey, Network, RemoteMember};
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
        let remote: BTreeSet<_> = members.remote.iter().map(|vtep| RemoteMember { vtep: *vtep }).collect();
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
    for (slot, member) in writes(&held, members) {
        table.set(MemberKey { vni: vni.get(), slot }, member)?;
    }
    Ok(members.len() as u32)
}

fn remove_slots<T>(table: &mut Table<MemberKey, T>, vni: Vni) -> Result<(), KernelError>
where
    T: aya::Pod + Default,
{
    let keys = table.entries()?.into_iter().map(|(key, _)| key).filter(|key| key.vni == vni.get());
    keys.collect::<Vec<_>>().iter().try_for_each(|key| table.remove(key))
}

/// What to write to which slots, so that as many are in use as there are members and hold these.
/// Whoever has a slot that stays in use keeps it.
fn writes<T: Copy + Ord>(held: &[Option<T>], members: &BTreeSet<T>) -> Vec<(u32, T)> {
    let mut homeless = members.clone();
    let kept = |slot: usize| held.get(slot).copied().flatten().filter(|member| homeless.remove(member));
    let free: Vec<_> = (0..members.len()).map(kept).enumerate().filter(|(_, kept)| kept.is_none()).collect();
    free.into_iter().map(|(slot, _)| slot as u32).zip(homeless).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    /// The slots, and how many of them are in use.
    type State = (Vec<Option<u8>>, usize);

    proptest! {
        #[test]
        fn the_slots_hold_the_members_and_nobody_else(
            held in vec(prop::option::of(0u8..12), 0..8),
            members in btree_set(0u8..12, 0..8),
        ) {
            let (slots, in_use) = states(&held, &members).pop().expect("at least one");
            let found: Vec<_> = slots[..in_use].iter().map(|member| member.expect("a member")).collect();
            prop_assert_eq!(found.len(), members.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), members);
        }

        /// The program reads the number of slots and then one slot after the other, at any pace.
        #[test]
        fn a_frame_on_its_way_misses_none_that_stays_and_meets_none_that_was_no_member(
            before in btree_set(0u8..12, 0..8),
            members in btree_set(0u8..12, 0..8),
            paces in vec(0usize..4, 9),
        ) {
            let held: Vec<_> = before.iter().copied().map(Some).collect();
            let states = states(&held, &members);
            let mut pace = paces.into_iter();
            let mut at = 0;
            let mut now = || {
                at = (at + pace.next().unwrap_or_default()).min(states.len() - 1);
                &states[at]
            };
            let in_use = now().1;
            let met: BTreeSet<_> = (0..in_use).filter_map(|slot| now().0.get(slot).copied().flatten()).collect();
            prop_assert!(met.is_superset(&(&before & &members)), "{met:?}");
            prop_assert!(met.is_subset(&(&before | &members)), "{met:?}");
        }
    }

    /// What a program may find while the members change, in order.
    fn states(held: &[Option<u8>], members: &BTreeSet<u8>) -> Vec<State> {
        let mut state = (held.to_vec(), held.len());
        let mut states = vec![state.clone()];
        for (slot, member) in writes(held, members) {
            let slot = slot as usize;
            state.0.resize(state.0.len().max(slot + 1), None);
            state.0[slot] = Some(member);
            states.push(state.clone());
        }
        state.1 = members.len();
        states.push(state);
        states
    }
}
