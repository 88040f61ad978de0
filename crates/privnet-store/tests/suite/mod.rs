//! What every store does, whatever it keeps its records in.

pub mod constraints;
pub mod events;
pub mod life;
pub mod records;
pub mod whole;

use std::sync::Arc;

use self::records::organization;

use privnet_model::zone::{Change, Row, Snapshot};
use privnet_model::{Carriage, Host, Instance, Invitation, Key, Network, Operation, Organization, Port, SshKey};
use privnet_store::{Store, StoreError};

/// A database that starts empty and is gone with this value.
pub trait Database: Sized {
    type Store: Store;

    fn new() -> Self;

    /// The store on it, once the one before is dropped.
    fn open(&self) -> Self::Store;
}

/// Makes a test of each function of the suite for one kind of database.
macro_rules! suite {
    ($database:ty) => {
        $crate::suite::suite! { $database: records
            a_new_database_holds_nothing
            each_kind_of_record_comes_back_with_all_that_it_can_have
            each_kind_of_record_comes_back_with_as_little_as_it_can_have
            records_come_in_the_order_of_their_keys
            a_record_can_be_replaced_and_removed
            the_largest_numbers_come_back
        }
        $crate::suite::suite! { $database: constraints
            no_two_organizations_have_one_name
            no_two_networks_have_one_vni
            a_vni_is_not_given_to_a_network_while_a_host_may_carry_another_with_it
            a_carriage_has_no_vni_of_another_network
            no_two_ports_have_one_mac_address
            no_two_ports_of_a_network_hold_one_address
            an_instance_has_one_port_in_a_network
            an_instance_has_one_device_of_a_name
            no_two_hosts_have_one_name
            no_two_hosts_are_one_vtep
            a_host_carries_a_network_once
            a_record_refers_to_what_is_there
            what_others_refer_to_is_not_removed
            operations_and_carriages_outlive_their_network
        }
        $crate::suite::suite! { $database: whole
            a_commit_that_breaks_a_constraint_changes_nothing
            a_record_that_somebody_else_has_changed_is_not_written
            ports_exchange_their_addresses_in_one_commit
            hosts_exchange_their_vteps_in_one_commit
            what_one_change_frees_another_takes_in_any_order
            a_freed_vni_is_given_again_in_the_same_commit
            an_instance_is_detached_and_attached_again_in_one_commit
            a_record_made_and_removed_in_one_commit_leaves_nothing
            a_record_may_come_before_what_it_refers_to
        }
        $crate::suite::suite! { $database: events
            an_event_comes_back_with_all_that_it_can_have_and_as_little
            events_are_kept_with_their_changes_or_not_at_all
            events_are_found_by_time_organization_and_key
            a_log_is_read_part_by_part_and_each_event_once
            the_times_of_a_log_do_not_go_back
            old_events_and_those_that_are_too_many_go_bit_by_bit
            too_many_events_of_one_push_out_no_other_s
        }
        $crate::suite::suite! { $database: life
            a_zone_is_the_same_after_reopening
        }
    };
    ($database:ty: $module:ident $($test:ident)*) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::suite::$module::$test::<$database>();
            })*
        }
    };
}
pub(crate) use suite;

/// A kind of record, as a change of it.
pub trait Record: Sized {
    fn change(row: Row<Self>) -> Change;
}

pub fn insert<T: Record + Clone>(record: &T) -> Change {
    T::change(Row::insert(record.clone()))
}

pub fn replace<T: Record + Clone>(before: &T, after: &T) -> Change {
    T::change(Row::replace(Arc::new(before.clone()), after.clone()))
}

pub fn remove<T: Record + Clone>(record: &T) -> Change {
    T::change(Row::remove(Arc::new(record.clone())))
}

macro_rules! record {
    ($($kind:ident)*) => {$(
        impl Record for $kind {
            fn change(row: Row<Self>) -> Change {
                Change::$kind(row)
            }
        }
    )*};
}
record! { Organization Key Network Instance Port Host Operation Carriage SshKey Invitation }

/// A database with an organization, these records and the store on it.
pub fn holding<D: Database>(changes: &[Change]) -> (D, D::Store) {
    let database = D::new();
    let mut store = database.open();
    store.commit(&[insert(&organization(1))]).expect("it fits");
    store.commit(changes).expect("the records fit");
    (database, store)
}

pub fn load(store: &mut impl Store) -> Snapshot {
    store.load().expect("loads")
}

/// Commits what must be refused for a constraint, and checks that nothing has changed.
pub fn refuse_for_constraint(store: &mut impl Store, changes: &[Change]) {
    let before = load(store);
    let refusal = store.commit(changes).expect_err("a constraint is broken");
    assert!(matches!(refusal, StoreError::Constraint { .. }), "{refusal:?}");
    assert_eq!(load(store), before);
}
