use std::num::NonZeroU32;

use privnet_model::{Event, EventText, KeyId, OperationId, OrganizationId, Timestamp};
use privnet_store::{EventQuery, Keep, LoggedEvent, NewEvents, Store};

use super::records::network;
use super::{Database, holding, insert, refuse_for_constraint};

/// The last of these come in the answer to any question.
const ALL: EventQuery = EventQuery {
    from: Timestamp::from_unix_ms(0),
    to: Timestamp::from_unix_ms(u64::MAX),
    organization: None,
    key: None,
    before: None,
    count_max: 10_000,
};

fn organization(number: u8) -> OrganizationId {
    OrganizationId::from_bytes([number; 16])
}

fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; KeyId::OCTETS])
}

/// An event with as little as it can have.
fn event(at: u64) -> Event {
    Event {
        at: Timestamp::from_unix_ms(at),
        source: [192, 0, 2, 1].into(),
        key: None,
        organization: None,
        call: "create-private-network".into(),
        path: EventText::cut("/v2/private-network"),
        status: 403,
        operation: None,
        message: None,
        times: NonZeroU32::MIN,
    }
}

fn whole_event(at: u64) -> Event {
    Event {
        source: std::net::Ipv6Addr::LOCALHOST.into(),
        key: Some(key(1)),
        organization: Some(organization(1)),
        status: 200,
        operation: Some(OperationId::from_bytes([9; 16])),
        message: Some(EventText::cut("é")),
        times: NonZeroU32::MAX,
        ..event(at)
    }
}

fn add(store: &mut impl Store, events: &[Event]) {
    store.commit_with_events(&[], &NewEvents { events, ..NewEvents::NONE }).expect("commits");
}

fn read(store: &impl Store, query: &EventQuery) -> Vec<Event> {
    logged(store, query).into_iter().map(|logged| logged.event).collect()
}

fn logged(store: &impl Store, query: &EventQuery) -> Vec<LoggedEvent> {
    store.event_reader().expect("a reader").read(query).expect("reads")
}

/// The times of the events that a query is about.
fn times(store: &impl Store, query: &EventQuery) -> Vec<u64> {
    read(store, query).iter().map(|event| event.at.unix_ms).collect()
}

pub fn an_event_comes_back_with_all_that_it_can_have_and_as_little<D: Database>() {
    let (database, mut store) = holding::<D>(&[]);
    let events = [event(1), whole_event(2), event(i64::MAX as u64)];
    add(&mut store, &events);
    assert_eq!(read(&store, &ALL), events);
    drop(store);
    assert_eq!(read(&database.open(), &ALL), events);
}

pub fn events_are_kept_with_their_changes_or_not_at_all<D: Database>() {
    let (_database, mut store) = holding::<D>(&[]);
    let new = NewEvents { events: &[event(1)], ..NewEvents::NONE };
    store.commit_with_events(&[insert(&network(1))], &new).expect("commits");
    store.commit_with_events(&[insert(&network(1))], &NewEvents { events: &[event(2)], ..new }).expect_err("refused");
    refuse_for_constraint(&mut store, &[insert(&network(1))]);
    add(&mut store, &[event(3)]);
    assert_eq!(times(&store, &ALL), [1, 3]);
}

pub fn events_are_found_by_time_organization_and_key<D: Database>() {
    let (_database, mut store) = holding::<D>(&[]);
    let of = |at, number| Event { organization: Some(organization(number)), key: Some(key(number)), ..event(at) };
    add(&mut store, &[of(10, 1), of(20, 2), of(20, 1), event(30)]);
    add(&mut store, &[of(40, 1), of(50, 2)]);
    let within = |from, to| EventQuery { from: Timestamp::from_unix_ms(from), to: Timestamp::from_unix_ms(to), ..ALL };
    assert_eq!(times(&store, &within(20, 40)), [20, 20, 30]);
    assert_eq!(times(&store, &within(21, 30)), [0; 0]);
    assert_eq!(times(&store, &within(41, 40)), [0; 0]);
    assert_eq!(times(&store, &within(51, 99)), [0; 0]);
    assert_eq!(times(&store, &EventQuery { organization: Some(organization(1)), ..ALL }), [10, 20, 40]);
    assert_eq!(times(&store, &EventQuery { organization: Some(organization(1)), ..within(11, 40) }), [20]);
    assert_eq!(times(&store, &EventQuery { organization: Some(organization(3)), ..ALL }), [0; 0]);
    assert_eq!(times(&store, &EventQuery { key: Some(key(2)), ..ALL }), [20, 50]);
    assert_eq!(times(&store, &EventQuery { count_max: 2, ..ALL }), [40, 50]);
}

/// Also where all have one time, as after a clock was set back.
pub fn a_log_is_read_part_by_part_and_each_event_once<D: Database>() {
    let (_database, mut store) = holding::<D>(&[]);
    let of = |number| Event { organization: Some(organization(number)), ..event(10) };
    let events: Vec<_> = (0..25).map(|number| of(1 + number % 2)).collect();
    events.chunks(7).for_each(|some| add(&mut store, some));
    let pages = |asked: EventQuery| {
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = logged(&store, &EventQuery { before, count_max: 4, ..asked.clone() });
            let Some(first) = page.first() else { return pages };
            assert!(page.iter().all(|logged| before.is_none_or(|before| logged.number < before)), "{page:?}");
            before = Some(first.number);
            pages.splice(0..0, page);
        }
    };
    let all = pages(ALL);
    assert_eq!(all.iter().map(|logged| &logged.event).collect::<Vec<_>>(), events.iter().collect::<Vec<_>>());
    assert!(all.is_sorted_by(|one, next| one.number < next.number), "{all:?}");
    let own = pages(EventQuery { organization: Some(organization(2)), ..ALL });
    assert_eq!(own.len(), 12);
    assert_eq!(logged(&store, &EventQuery { before: Some(0), ..ALL }), []);
    assert_eq!(logged(&store, &EventQuery { before: Some(u64::MAX), ..ALL }).len(), 25);
}

pub fn the_times_of_a_log_do_not_go_back<D: Database>() {
    let (database, mut store) = holding::<D>(&[]);
    add(&mut store, &[event(50), event(40)]);
    drop(store);
    let mut store = database.open();
    add(&mut store, &[event(30), event(60)]);
    assert_eq!(times(&store, &ALL), [50, 50, 50, 60]);
}

pub fn old_events_and_those_that_are_too_many_go_bit_by_bit<D: Database>() {
    let (database, mut store) = holding::<D>(&[]);
    let events: Vec<_> = (0..2000).map(event).collect();
    add(&mut store, &events);
    let keep =
        |since, count_max| NewEvents { events: &[], keep: Keep { since: Timestamp::from_unix_ms(since), count_max } };
    let shrink = |store: &mut D::Store, keep: NewEvents<'_>, expected: std::ops::Range<u64>| {
        for round in 0.. {
            let before = times(store, &ALL).len();
            store.commit_with_events(&[], &keep).expect("commits");
            let after = times(store, &ALL);
            assert!(before - after.len() <= 1000, "so much at once holds others up");
            if after.len() == before {
                assert!(round > 1, "it was gone at once");
                return assert_eq!(after, expected.collect::<Vec<_>>());
            }
        }
    };
    shrink(&mut store, keep(800, u64::MAX), 800..2000);
    drop(store);
    let mut store = database.open();
    shrink(&mut store, keep(0, 200), 1800..2000);
    add(&mut store, &[event(2000)]);
    assert_eq!(times(&store, &ALL).last(), Some(&2000));
    store.commit_with_events(&[], &keep(9999, u64::MAX)).expect("commits");
    assert_eq!(times(&store, &ALL), [0; 0]);
    add(&mut store, &[event(3000)]);
    assert_eq!(times(&store, &ALL), [3000]);
}

pub fn too_many_events_of_one_push_out_no_other_s<D: Database>() {
    let of = |at, number| Event { organization: Some(organization(number)), key: Some(key(number)), ..event(at) };
    let operator_s = |at| Event { key: Some(key(9)), ..event(at) };
    let others = [of(1, 1), operator_s(2), event(3), of(4, 1), operator_s(5), event(6)];
    let floods: [&dyn Fn(u64) -> Event; 3] = [&|at| of(at, 2), &operator_s, &event];
    let keep = Keep { since: Timestamp::from_unix_ms(0), count_max: 100 };
    for flood in floods {
        let (database, mut store) = holding::<D>(&[]);
        add(&mut store, &others);
        let mut at = 7;
        for round in 0..40 {
            let events: Vec<_> = (at..at + 20).map(flood).collect();
            store.commit_with_events(&[], &NewEvents { events: &events, keep }).expect("commits");
            at += 20;
            if round == 20 {
                drop(store);
                store = database.open();
            }
        }
        let kept = read(&store, &ALL);
        assert_eq!(kept.len(), 100);
        let is_flood = |event: &Event| {
            let flood = flood(0);
            (event.organization, event.key) == (flood.organization, flood.key)
        };
        let (flooding, quiet): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_flood);
        let expected: Vec<_> = others.iter().filter(|event| !is_flood(event)).cloned().collect();
        assert_eq!(quiet, expected);
        let newest: Vec<_> = (at - flooding.len() as u64..at).map(flood).collect();
        assert_eq!(flooding, newest, "the oldest went");

        let since = |from| EventQuery { from: Timestamp::from_unix_ms(from), ..ALL };
        assert_eq!(times(&store, &since(at - 2)), [at - 2, at - 1], "found among gaps");
        assert_eq!(times(&store, &EventQuery { to: Timestamp::from_unix_ms(7), ..ALL }).len(), quiet.len());
        let old = Keep { since: Timestamp::from_unix_ms(at - 1), count_max: 100 };
        store.commit_with_events(&[], &NewEvents { events: &[], keep: old }).expect("commits");
        assert_eq!(times(&store, &ALL), [at - 1]);
    }
}
