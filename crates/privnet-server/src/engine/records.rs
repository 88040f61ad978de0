use privnet_model::zone::{Change, Row, Zone};
use privnet_model::{Organization, OrganizationId};
use privnet_store::{Store, StoreError};

use super::now;

/// A store and the zone that it holds, before anybody uses them: the organization `default` is there.
pub(crate) struct Records {
    pub(super) store: Box<dyn Store>,
    pub(super) zone: Zone,
}

impl Records {
    /// Reads what the store holds, and makes the organization that is always there if the server starts for the
    /// first time.
    ///
    /// # Errors
    /// [`StoreError`] where the records cannot be read, or the first one not be made.
    pub(crate) fn load(mut store: Box<dyn Store>) -> Result<Self, StoreError> {
        let zone = Zone::new(store.load()?);
        let mut records = Self { store, zone };
        if records.zone.organization(OrganizationId::DEFAULT).is_none() {
            records.commit(&[Change::Organization(Row::insert(Organization::default_at(now())))])?;
        }
        Ok(records)
    }

    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Makes changes that nobody has to decide on.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(changes)?;
        changes.iter().for_each(|change| self.zone.apply(change));
        Ok(())
    }
}
