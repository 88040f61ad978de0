//! The events of a run, from its seed alone. What becomes of an event does not come back here, so that
//! the same seed is the same plan, however long anything takes.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::event::{
    Damage, Event, HostNumber, InstanceSlot, MadeSlot, NetworkSlot, Range, Request, Switch, Upset, What,
};

/// Places for networks and instances.
pub(crate) const NETWORKS_MAX: usize = 6;
pub(crate) const INSTANCES_MAX: usize = 12;
/// Places for instances that hosts make.
pub(crate) const MADE_MAX: usize = 3;

/// How many there are after the first step, which upsets nothing.
const NETWORKS_FIRST: usize = 3;
const INSTANCES_FIRST: usize = 7;

/// How many requests and upsets a step has.
const REQUESTS: std::ops::Range<usize> = 3..16;
const UPSETS: std::ops::Range<usize> = 1..5;

/// The longest pause before an event, in milliseconds.
const AFTER_MAX_MS: u64 = 60;

/// An agent connects again after 0.1 s, more or less, and has had its handshake by then.
const CONNECTING_MAX_MS: u64 = 250;

/// The most frames of a storm.
const STORM_FRAMES_MAX: u32 = 4000;

/// The first and last octets of static addresses: in and out of every range, in every subnet.
const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=200;

/// The plan of a run: its steps, one after the other.
pub(crate) struct Plan {
    random: StdRng,
    hosts: usize,
    /// What there is when every request so far was carried out.
    networks: [Option<Network>; NETWORKS_MAX],
    instances: [Option<Instance>; INSTANCES_MAX],
    /// Where the instances are that hosts make.
    made: [Option<HostNumber>; MADE_MAX],
    steps: usize,
}

#[derive(Clone)]
struct Network {
    is_managed: bool,
}

#[derive(Clone)]
struct Instance {
    host: HostNumber,
    ports: BTreeSet<NetworkSlot>,
}

impl Plan {
    pub(crate) fn new(seed: u64, hosts: usize) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            hosts,
            networks: [const { None }; NETWORKS_MAX],
            instances: [const { None }; INSTANCES_MAX],
            made: [None; MADE_MAX],
            steps: 0,
        }
    }

    /// The events of the next step. After it all that was upset is put right.
    pub(crate) fn next_step(&mut self) -> Vec<Event> {
        self.steps += 1;
        let events = if self.steps == 1 { self.first_step() } else { self.later_step() };
        events.into_iter().map(|what| Event { after: self.pause(), what }).collect()
    }

    fn pause(&mut self) -> Duration {
        // Half of the events come at once.
        let milliseconds = self.random.random_range(0..2 * AFTER_MAX_MS).saturating_sub(AFTER_MAX_MS);
        Duration::from_millis(milliseconds)
    }

    fn first_step(&mut self) -> Vec<What> {
        let mut requests = Vec::new();
        for slot in 0..NETWORKS_FIRST {
            requests.push(self.create_network(NetworkSlot(slot)));
        }
        for slot in 0..INSTANCES_FIRST {
            requests.push(self.create_instance(InstanceSlot(slot)));
        }
        let mut events: Vec<_> = requests.into_iter().map(What::Ask).collect();
        events.push(What::Gather);
        for slot in 0..INSTANCES_FIRST {
            let first = NetworkSlot(slot % NETWORKS_FIRST);
            events.push(What::Ask(self.attach(InstanceSlot(slot), first)));
            events.extend(self.attach_anywhere().map(What::Ask));
        }
        events
    }

    /// Requests with upsets between them, in random order; what ends an upset comes after it.
    fn later_step(&mut self) -> Vec<What> {
        let mut events = Vec::new();
        for _ in 0..self.random.random_range(REQUESTS) {
            events.extend(self.some_request());
        }
        if self.random.random_bool(0.15) {
            events.extend(self.replace_a_network_behind_a_host());
        }
        for _ in 0..self.random.random_range(UPSETS) {
            let mut at = self.random.random_range(0..=events.len());
            for upset in self.some_upset() {
                events.insert(at, upset);
                at = self.random.random_range(at + 1..=events.len());
            }
        }
        events
    }

    fn some_request(&mut self) -> Vec<What> {
        let request = match self.random.random_range(0..100) {
            0..8 => self.free_network().map(|slot| self.create_network(slot)),
            8..13 => return self.delete_some_network(),
            13..18 => self.some_network().map(|network| Request::Relabel { network, text: self.random.random() }),
            18..21 => self.some_network().map(|network| Request::ResetLabels { network }),
            21..25 => self.some_network().map(|network| self.set_range(network)),
            25..33 => self.free_instance().map(|slot| self.create_instance(slot)),
            33..37 => return self.delete_some_instance(),
            37..60 => self.attach_anywhere(),
            60..71 => self.about_a_made_one(),
            71..77 => self.move_some_instance(),
            77..88 => self.some_port().map(|(instance, network)| self.detach(instance, network)),
            _ => self.some_port().map(|(instance, network)| {
                let address = self.some_address(network);
                Request::UpdateIp { instance, network, address }
            }),
        };
        request.map(What::Ask).into_iter().collect()
    }

    fn create_network(&mut self, network: NetworkSlot) -> Request {
        let is_managed = self.random.random_bool(0.7);
        self.networks[network.0] = Some(Network { is_managed });
        Request::CreateNetwork { network, is_managed }
    }

    /// Half of the time with ports in it, which is refused.
    fn delete_some_network(&mut self) -> Vec<What> {
        let Some(network) = self.some_network() else { return Vec::new() };
        let members = (0..INSTANCES_MAX).map(InstanceSlot);
        let members: Vec<_> = members.filter(|instance| self.is_attached(*instance, network)).collect();
        let mut events = Vec::new();
        if self.random.random_bool(0.5) {
            for instance in &members {
                events.push(What::Ask(self.detach(*instance, network)));
            }
            events.push(What::Gather);
        } else if !members.is_empty() {
            return vec![What::Ask(Request::DeleteNetwork { network })];
        }
        self.networks[network.0] = None;
        events.push(What::Ask(Request::DeleteNetwork { network }));
        events
    }

    /// A network goes and another comes while a host that may carry the first is away (invariant 2).
    fn replace_a_network_behind_a_host(&mut self) -> Vec<What> {
        let (Some(network), host) = (self.some_network(), self.some_host()) else { return Vec::new() };
        let members = (0..INSTANCES_MAX).map(InstanceSlot);
        let members: Vec<_> = members.filter(|instance| self.is_attached(*instance, network)).collect();
        let mut events = vec![What::Upset(Upset::KillAgent(host))];
        events.extend(members.iter().map(|instance| What::Ask(self.detach(*instance, network))));
        events.extend([What::Gather, What::Ask(Request::DeleteNetwork { network })]);
        events.push(What::Ask(self.create_network(network)));
        events.push(What::Gather);
        events.extend(members.iter().map(|instance| What::Ask(self.attach(*instance, network))));
        events
    }

    fn set_range(&mut self, network: NetworkSlot) -> Request {
        if let Some(network) = &mut self.networks[network.0] {
            network.is_managed = true;
        }
        let first = self.random.random_range(5..60);
        Request::SetRange { network, range: Range { first, last: first + self.random.random_range(4..100) } }
    }

    fn create_instance(&mut self, instance: InstanceSlot) -> Request {
        let host = self.some_host();
        self.instances[instance.0] = Some(Instance { host, ports: BTreeSet::new() });
        Request::CreateInstance { instance, host }
    }

    fn delete_some_instance(&mut self) -> Vec<What> {
        let Some(instance) = self.some_instance() else { return Vec::new() };
        let ports = self.instances[instance.0].take().map(|instance| instance.ports).unwrap_or_default();
        let detaches = ports.into_iter().map(|network| Request::Detach { instance, network });
        detaches.chain([Request::DeleteInstance { instance }]).map(What::Ask).collect()
    }

    /// To where it is, now and then.
    fn move_some_instance(&mut self) -> Option<Request> {
        let (instance, host) = (self.some_instance()?, self.some_host());
        if let Some(instance) = &mut self.instances[instance.0] {
            instance.host = host;
        }
        Some(Request::Move { instance, host, is_early: self.random.random_bool(0.3) })
    }

    /// One that there is none of is made; the others are attached, switched and deleted.
    fn about_a_made_one(&mut self) -> Option<Request> {
        let slot = self.random.random_range(0..MADE_MAX);
        let made = MadeSlot(slot);
        if self.made[slot].is_none() {
            let host = self.some_host();
            self.made[slot] = Some(host);
            return Some(Request::Make { made, host });
        }
        match self.random.random_range(0..100) {
            0..40 => self.some_network().map(|network| Request::Join { made, network }),
            40..80 => Some(Request::Power { made, switch: *Switch::ALL.choose(&mut self.random).expect("some") }),
            _ => {
                self.made[slot] = None;
                Some(Request::Unmake { made })
            }
        }
    }

    fn attach_anywhere(&mut self) -> Option<Request> {
        let places = (0..INSTANCES_MAX).flat_map(|one| (0..NETWORKS_MAX).map(move |other| (one, other)));
        let places = places.filter(|(one, other)| self.instances[*one].is_some() && self.networks[*other].is_some());
        let places = places.map(|(one, other)| (InstanceSlot(one), NetworkSlot(other)));
        let free: Vec<_> = places.filter(|(instance, network)| !self.is_attached(*instance, *network)).collect();
        let (instance, network) = pick(&mut self.random, free.into_iter())?;
        Some(self.attach(instance, network))
    }

    fn attach(&mut self, instance: InstanceSlot, network: NetworkSlot) -> Request {
        if let Some(instance) = &mut self.instances[instance.0] {
            instance.ports.insert(network);
        }
        Request::Attach { instance, network, address: self.some_address(network) }
    }

    fn detach(&mut self, instance: InstanceSlot, network: NetworkSlot) -> Request {
        if let Some(instance) = &mut self.instances[instance.0] {
            instance.ports.remove(&network);
        }
        Request::Detach { instance, network }
    }

    fn is_attached(&self, instance: InstanceSlot, network: NetworkSlot) -> bool {
        self.instances[instance.0].as_ref().is_some_and(|instance| instance.ports.contains(&network))
    }

    /// An address to ask for, where addresses are leased.
    fn some_address(&mut self, network: NetworkSlot) -> Option<u8> {
        let is_managed = self.networks[network.0].as_ref().is_some_and(|network| network.is_managed);
        (is_managed && self.random.random_bool(0.3)).then(|| self.random.random_range(ADDRESSES))
    }

    fn some_host(&mut self) -> HostNumber {
        HostNumber(self.random.random_range(1..=self.hosts))
    }

    fn some_network(&mut self) -> Option<NetworkSlot> {
        pick(&mut self.random, (0..NETWORKS_MAX).filter(|slot| self.networks[*slot].is_some())).map(NetworkSlot)
    }

    fn free_network(&mut self) -> Option<NetworkSlot> {
        pick(&mut self.random, (0..NETWORKS_MAX).filter(|slot| self.networks[*slot].is_none())).map(NetworkSlot)
    }

    fn some_instance(&mut self) -> Option<InstanceSlot> {
        pick(&mut self.random, (0..INSTANCES_MAX).filter(|slot| self.instances[*slot].is_some())).map(InstanceSlot)
    }

    fn free_instance(&mut self) -> Option<InstanceSlot> {
        pick(&mut self.random, (0..INSTANCES_MAX).filter(|slot| self.instances[*slot].is_none())).map(InstanceSlot)
    }

    fn some_port(&mut self) -> Option<(InstanceSlot, NetworkSlot)> {
        let instances = self.instances.iter().enumerate();
        let ports = instances.flat_map(|(slot, instance)| {
            instance.iter().flat_map(move |one| one.ports.iter().map(move |network| (InstanceSlot(slot), *network)))
        });
        pick(&mut self.random, ports)
    }

    /// An upset, and what ends it; some are left to the end of the step.
    fn some_upset(&mut self) -> Vec<What> {
        let host = self.some_host();
        if self.random.random_bool(0.02) {
            return self.remove_host(host);
        }
        let mut upsets = match self.random.random_range(0..100) {
            0..10 => vec![Upset::KillAgent(host), Upset::StartAgent(host)],
            10..15 => vec![Upset::StopAgent(host), Upset::StartAgent(host)],
            15..20 => vec![Upset::PauseAgent(host), Upset::ResumeAgent(host)],
            20..30 => vec![Upset::KillServer, Upset::StartServer],
            30..34 => vec![Upset::StopServer, Upset::StartServer],
            34..37 => vec![Upset::PauseServer, Upset::ResumeServer],
            37..42 => vec![Upset::CutStream(host)],
            42..46 => vec![Upset::HoldStream(host), Upset::ReleaseStream(host)],
            46..49 => vec![Upset::LinkDown(host), Upset::LinkUp(host)],
            49..52 => vec![Upset::Unplug(host), Upset::PlugIn(host)],
            52..56 => self.some_blackhole(host),
            56..62 => vec![Upset::Reboot(host)],
            62..79 => self.some_damage(host),
            79..85 => self.some_lost_namespace(),
            85..88 => vec![Upset::FillServerDisk, Upset::FreeServerDisk],
            88..91 => vec![Upset::FillAgentDisk(host), Upset::FreeAgentDisk(host)],
            91..94 => vec![Upset::ReplaceCertificate(host)],
            94..97 => vec![Upset::RestartServerWhileConnecting(self.some_connecting())],
            _ => self.some_storm(),
        };
        if self.random.random_bool(0.4) {
            upsets.truncate(1);
        }
        upsets.into_iter().map(What::Upset).collect()
    }

    /// Nobody asks for anything meanwhile, so that all know what has gone with it.
    fn remove_host(&mut self, host: HostNumber) -> Vec<What> {
        for place in &mut self.instances {
            place.take_if(|instance| instance.host == host);
        }
        for place in &mut self.made {
            place.take_if(|made| *made == host);
        }
        vec![What::Gather, What::Upset(Upset::RemoveHost(host))]
    }

    fn some_blackhole(&mut self, from: HostNumber) -> Vec<Upset> {
        match pick(&mut self.random, (1..=self.hosts).filter(|host| *host != from.0)) {
            Some(to) => vec![Upset::Blackhole(from, HostNumber(to)), Upset::Heal(from, HostNumber(to))],
            None => Vec::new(),
        }
    }

    fn some_damage(&mut self, host: HostNumber) -> Vec<Upset> {
        let damage = *Damage::ALL.choose(&mut self.random).expect("there are some");
        vec![Upset::Damage(host, damage, self.random.random())]
    }

    fn some_lost_namespace(&mut self) -> Vec<Upset> {
        let instance = self.some_instance();
        instance.map_or(Vec::new(), |slot| vec![Upset::LoseNamespace(slot), Upset::RemakeNamespace(slot)])
    }

    /// Agents whose stream was cut are connecting then.
    fn some_connecting(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(0..CONNECTING_MAX_MS))
    }

    fn some_storm(&mut self) -> Vec<Upset> {
        let frames = self.random.random_range(1..=STORM_FRAMES_MAX);
        self.some_instance().map(|instance| Upset::Storm(instance, frames)).into_iter().collect()
    }
}

fn pick<T>(random: &mut StdRng, choices: impl Iterator<Item = T>) -> Option<T> {
    let mut choices: Vec<_> = choices.collect();
    (!choices.is_empty()).then(|| choices.swap_remove(random.random_range(0..choices.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan_and_another_seed_another() {
        let steps = |seed| {
            let mut plan = Plan::new(seed, 3);
            (0..50).map(|_| plan.next_step()).collect::<Vec<_>>()
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_kind_of_event_comes() {
        let mut plan = Plan::new(1, 3);
        let events: Vec<_> = (0..400).flat_map(|_| plan.next_step()).collect();
        let has = |what: &str| events.iter().any(|event| event.to_string().contains(what));
        for damage in Damage::ALL {
            assert!(has(&format!("{damage:?}")), "{damage:?}");
        }
        for what in [
            "create n",
            "managed",
            "label",
            "reset",
            "range",
            "delete n",
            "create i",
            "make m",
            "attach m",
            "start m",
            "stop m",
            "reboot m",
            "delete m",
            "delete i",
            "attach",
            "detach",
            "update-ip",
            "as .",
            "gather",
            "kill -9 the agent",
            "stop the agent",
            "start the agent",
            "pause the agent",
            "resume the agent",
            "kill -9 the server",
            "stop the server",
            "start the server",
            "pause the server",
            "resume the server",
            "cut the",
            "cut all",
            "replace the certificate",
            "invite it anew",
            "hold",
            "release",
            "down",
            "up",
            "pull",
            "put",
            "sends nothing",
            "again",
            "reboot",
            "remove the namespace",
            "make the namespace",
            "fill the server",
            "free the server",
            "fill the disk",
            "free the disk",
            "storms",
        ] {
            assert!(has(what), "{what}");
        }
    }
}
