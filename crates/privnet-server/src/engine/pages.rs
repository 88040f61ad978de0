use std::collections::BTreeMap;

use bytes::Bytes;
use privnet_api::reply::PrivateNetwork;
use privnet_model::zone::{Caller, Change, Zone};
use privnet_model::{NetworkId, OrganizationId};

/// How many items one page holds at most.
const ITEMS_MAX: usize = 256;
/// A page of so much JSON takes no further item.
const PAGE_BYTES: usize = 64 * 1024;

/// The lists of each organization's networks as JSON, in pages that are kept until one of their networks
/// changes: a list of many networks costs little more than sending it.
#[derive(Default)]
pub(super) struct Pages {
    /// By the organization and the lowest id that a page may hold; it holds all up to the organization's next
    /// page. `None`: to be made. An organization without networks has none.
    pages: BTreeMap<(OrganizationId, NetworkId), Option<Bytes>>,
}

/// A part of a list.
pub(crate) struct Page<Id> {
    /// Its items, each preceded by a comma.
    pub(crate) json: Bytes,
    /// With which id the next page begins, if there is one.
    pub(crate) next: Option<Id>,
}

/// As many items as make a page, as JSON with a comma before each, and the first of the rest.
pub(crate) fn fill<T>(mut items: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) -> (Vec<u8>, Option<T>) {
    let mut json = Vec::new();
    let mut count = 0;
    while count < ITEMS_MAX && json.len() < PAGE_BYTES {
        let Some(item) = items.next() else { return (json, None) };
        json.push(b',');
        write(&mut json, item);
        count += 1;
    }
    (json, items.next())
}

impl Pages {
    /// Takes the networks that were changed, made or deleted as such.
    pub(super) fn outdate(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Network(row) = change else { continue };
            let Some(network) = row.after.as_ref().or(row.before.as_ref()) else { continue };
            let place = (network.organization, network.id);
            if let Some((_, page)) = self.pages.range_mut((network.organization, NetworkId::MIN)..=place).next_back() {
                *page = None;
            }
        }
    }

    /// The page of a caller's networks that begins with the id `from`, or the one after it.
    pub(super) fn page(&mut self, caller: Caller, from: NetworkId, zone: &Zone) -> Page<NetworkId> {
        let organization = caller.organization();
        let mut coming = self.pages.range((organization, from)..=(organization, NetworkId::MAX));
        let present = coming.next().map(|((_, first), json)| (*first, json.clone()));
        let next = coming.next().map(|((_, first), _)| *first);
        match present {
            Some((_, Some(json))) => Page { json, next },
            Some((first, None)) => self.make(caller, first, next, zone),
            None if from == NetworkId::MIN => self.make(caller, from, None, zone),
            None => Page { json: Bytes::new(), next: None },
        }
    }

    /// Makes the page of the networks from `first` to before `next`, and a further one where they are too many.
    fn make(&mut self, caller: Caller, first: NetworkId, next: Option<NetworkId>, zone: &Zone) -> Page<NetworkId> {
        let organization = caller.organization();
        let networks = zone.seen_by(caller).networks_from(first);
        let networks = networks.take_while(|network| next.is_none_or(|next| network.id < next));
        let (mut json, rest) = fill(networks, |json, network| {
            let reply = PrivateNetwork::new(network, zone.ports_of_network(network.id).map(AsRef::as_ref));
            serde_json::to_writer(json, &reply).expect("a network has only texts and numbers");
        });
        let rest = rest.map(|network| network.id);
        if let Some(rest) = rest {
            self.pages.insert((organization, rest), None);
        }
        json.shrink_to_fit();
        let json = Bytes::from(json);
        if json.is_empty() && (first > NetworkId::MIN || next.is_none()) {
            // What may come here belongs to the page before, or will make the organization's first one.
            self.pages.remove(&(organization, first));
        } else {
            self.pages.insert((organization, first), Some(json.clone()));
        }
        Page { json, next: rest.or(next) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privnet_model::zone::{Change, Row};
    use privnet_model::{Description, DhcpOptions, Generation, Labels, Name, Network, Role, Scope, Timestamp, Vni};
    use proptest::prelude::*;

    use super::*;

    /// Every third network is of the second organization.
    const ORGANIZATIONS: [OrganizationId; 2] = [OrganizationId::DEFAULT, OrganizationId::MAX];

    fn network(number: u16, name: u8) -> Network {
        Network {
            id: NetworkId::new(u64::from(number), [0; 10]),
            organization: ORGANIZATIONS[usize::from(number % 3 == 2)],
            name: Name::try_from(name.to_string().as_str()).expect("name"),
            description: Description::default(),
            range: None,
            options: DhcpOptions::default(),
            labels: Labels::new(),
            vni: Vni::try_from(u32::from(number) + 1).expect("vni"),
            generation: Generation::FIRST,
            last_address: None,
            created_at: Timestamp::from_unix_ms(0),
        }
    }

    /// Puts each network in its place or, without a name, takes it away.
    fn change(zone: &mut Zone, pages: &mut Pages, changes: &[(u16, Option<u8>)]) {
        for (number, name) in changes {
            let after = name.map(|name| Arc::new(network(*number, name)));
            let before = zone.network(network(*number, 0).id).cloned();
            let change = Change::Network(Row { before, after });
            zone.apply(&change);
            pages.outdate(&[change]);
        }
    }

    fn listed(organization: OrganizationId, zone: &Zone, pages: &mut Pages) -> String {
        let caller = Caller::Client { key: None, scope: Scope::Organization(organization, Role::ReadOnly) };
        let mut json = Vec::new();
        let mut coming = Some(NetworkId::MIN);
        while let Some(from) = coming {
            let page = pages.page(caller, from, zone);
            json.extend_from_slice(&page.json);
            coming = page.next;
        }
        String::from_utf8(json).expect("a text")
    }

    fn expected(organization: OrganizationId, zone: &Zone) -> String {
        let own = zone.networks().filter(|network| network.organization == organization);
        let each = own.map(|network| {
            serde_json::to_string(&PrivateNetwork::new::<privnet_model::Port>(network, [])).expect("serializes")
        });
        each.map(|json| format!(",{json}")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

        #[test]
        fn the_pages_are_each_organizations_list_whatever_has_changed(
            made in 0..1200_u16,
            rounds in prop::collection::vec(prop::collection::vec((0..1500_u16, any::<Option<u8>>()), 0..40), 0..6),
            emptied in 0..1200_u16,
        ) {
            let (mut zone, mut pages) = (Zone::default(), Pages::default());
            let all: Vec<_> = (0..made).map(|number| (number, Some(0))).collect();
            let none: Vec<_> = (emptied..emptied + 600).map(|number| (number, None)).collect();
            for changes in std::iter::once(all.clone()).chain(rounds).chain([none, all]) {
                change(&mut zone, &mut pages, &changes);
                for organization in ORGANIZATIONS {
                    prop_assert_eq!(listed(organization, &zone, &mut pages), expected(organization, &zone));
                }
                prop_assert!(pages.pages.values().flatten().all(|json| json.len() <= 256 * 120));
            }
        }
    }

    #[test]
    fn a_page_ends_after_so_many_items_or_octets() {
        let page = |octets, items: u32| {
            let (json, rest) = fill(0..items, |json, _| json.resize(json.len() + octets, b'x'));
            (json.len(), rest)
        };
        assert_eq!(page(1, 256), (512, None));
        assert_eq!(page(1, 257), (512, Some(256)));
        assert_eq!(page(1023, 64), (65_536, None));
        assert_eq!(page(1023, 65), (65_536, Some(64)));
        assert_eq!(page(100_000, 2), (100_001, Some(1)), "one at least");
    }

    #[test]
    fn an_organization_without_networks_has_no_pages() {
        let (mut zone, mut pages) = (Zone::default(), Pages::default());
        change(&mut zone, &mut pages, &[(0, Some(0))]);
        assert_eq!(ORGANIZATIONS.map(|organization| listed(organization, &zone, &mut pages).is_empty()), [false, true]);
        assert_eq!(pages.pages.len(), 1);
        change(&mut zone, &mut pages, &[(0, None)]);
        assert!(listed(ORGANIZATIONS[0], &zone, &mut pages).is_empty() && pages.pages.is_empty());
    }
}
