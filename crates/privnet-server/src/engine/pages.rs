use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use privnet_api::reply::PrivateNetwork;
use privnet_model::NetworkId;
use privnet_model::zone::Zone;

/// How many networks one page holds at most.
const NETWORKS_MAX: usize = 256;

/// The list of all networks as JSON, in pages that are kept until one of their networks changes: a
/// list of many networks costs little more than sending it.
pub(super) struct Pages {
    /// By the lowest id that a page may hold; it holds all up to the next page's. `None`: to be made.
    pages: BTreeMap<NetworkId, Option<Bytes>>,
}

/// A part of a list.
pub(crate) struct Page<Id> {
    /// Its items, each preceded by a comma.
    pub(crate) json: Bytes,
    /// With which id the next page begins, if there is one.
    pub(crate) next: Option<Id>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { pages: BTreeMap::from([(NetworkId::MIN, None)]) }
    }
}

impl Pages {
    /// Takes these networks as changed, made or deleted.
    pub(super) fn outdate(&mut self, networks: &BTreeSet<NetworkId>) {
        for network in networks {
            if let Some((_, page)) = self.pages.range_mut(..=*network).next_back() {
                *page = None;
            }
        }
    }

    /// The page that begins with the id `from`, or the one after it.
    pub(super) fn page(&mut self, from: NetworkId, zone: &Zone) -> Page<NetworkId> {
        let mut coming = self.pages.range(from..);
        let present = coming.next().map(|(first, json)| (*first, json.clone()));
        let next = coming.next().map(|(first, _)| *first);
        match present {
            Some((_, Some(json))) => Page { json, next },
            Some((first, None)) => self.make(first, next, zone),
            None => Page { json: Bytes::new(), next: None },
        }
    }

    /// Makes the page of the networks from `first` to before `next`, and a further one where they are too many.
    fn make(&mut self, first: NetworkId, next: Option<NetworkId>, zone: &Zone) -> Page<NetworkId> {
        let mut networks = zone.networks_from(first).take_while(|network| next.is_none_or(|next| network.id < next));
        let mut json = Vec::new();
        for network in networks.by_ref().take(NETWORKS_MAX) {
            json.push(b',');
            let reply = PrivateNetwork::new(network, zone.ports_of_network(network.id).map(AsRef::as_ref));
            serde_json::to_writer(&mut json, &reply).expect("a network has only texts and numbers");
        }
        let rest = networks.next().map(|network| network.id);
        if let Some(rest) = rest {
            self.pages.insert(rest, None);
        }
        json.shrink_to_fit();
        let json = Bytes::from(json);
        if json.is_empty() && self.pages.range(..first).next().is_some() {
            // What may come here belongs to the page before.
            self.pages.remove(&first);
        } else {
            self.pages.insert(first, Some(json.clone()));
        }
        Page { json, next: rest.or(next) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privnet_model::zone::{Change, Row};
    use privnet_model::{Description, DhcpOptions, Generation, Labels, Name, Network, Timestamp, Vni};
    use proptest::prelude::*;

    use super::*;

    fn network(number: u16, name: u8) -> Network {
        Network {
            id: NetworkId::new(u64::from(number), [0; 10]),
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
            pages.outdate(&BTreeSet::from([network(*number, 0).id]));
            zone.apply(&Change::Network(Row { before, after }));
        }
    }

    fn listed(zone: &Zone, pages: &mut Pages) -> String {
        let mut json = Vec::new();
        let mut coming = Some(NetworkId::MIN);
        while let Some(from) = coming {
            let page = pages.page(from, zone);
            json.extend_from_slice(&page.json);
            coming = page.next;
        }
        String::from_utf8(json).expect("a text")
    }

    fn expected(zone: &Zone) -> String {
        let each = zone.networks().map(|network| {
            serde_json::to_string(&PrivateNetwork::new::<privnet_model::Port>(network, [])).expect("serializes")
        });
        each.map(|json| format!(",{json}")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

        #[test]
        fn the_pages_are_the_list_whatever_has_changed(
            made in 0..1200_u16,
            rounds in prop::collection::vec(prop::collection::vec((0..1500_u16, any::<Option<u8>>()), 0..40), 0..6),
            emptied in 0..1200_u16,
        ) {
            let (mut zone, mut pages) = (Zone::default(), Pages::default());
            let all: Vec<_> = (0..made).map(|number| (number, Some(0))).collect();
            let none: Vec<_> = (emptied..emptied + 600).map(|number| (number, None)).collect();
            for changes in std::iter::once(all.clone()).chain(rounds).chain([none, all]) {
                change(&mut zone, &mut pages, &changes);
                prop_assert_eq!(listed(&zone, &mut pages), expected(&zone));
                prop_assert!(pages.pages.values().flatten().all(|json| json.len() <= 256 * 120));
            }
        }
    }
}
