//! The programs and maps in a network namespace of their own, with devices that are down and lead
//! nowhere, and what one frame made a program do. bpf/tests/witness.h says what is seen and how.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ptr::NonNull;

use aya::maps::{Array, HashMap, MapData, ProgramArray, RingBuf};
use aya::programs::{ProgramFd, SchedClassifier};
use aya::{Pod, TestRun, TestRunOptions};
use nix::net::if_::if_nametoindex;
use privnet_model::MacAddr;

use super::fast_lane;
use super::input::{Door, Input, Segments, Tag, Tunnel};
use super::model::Way;
use super::witness::{
    CALL_CLONE, CALL_REDIRECT, CALL_REDIRECT_NEIGH, CALL_REDIRECT_PEER, HEAD_OCTETS, Neighbor as NextHop, Route,
    TAGGED, TunnelKey, WAYS_MAX, WayTaken, Witness, shared,
};
use super::world::{self, Budget, PORTS, Target, Underlay, World, port_mac};
use crate::layout::{
    Counters, FdbKey, FdbTarget, KIND_TAP, KIND_VETH, LAYOUT_VERSION, MemberKey, Neighbor, NeighborKey, Network,
    OVERLAY_ROW, Port, RemoteMember, VtepKey, vtep_octets,
};
use crate::pins::Pins;
use crate::programs::{Devices, Hook, Programs, Which};
use crate::tables::{Table, Tables};
use crate::tests::frames::{BROADCAST, IPV4, ethernet, udp};
use crate::tests::lab::{Namespace, PinDir, config};
use crate::{DatapathConfig, DhcpRequest};

static WITNESSED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/witnessed.bpf.o"));

pub(super) const SHOT: u32 = 2;
pub(super) const REDIRECT: u32 = 7;
/// On to whatever else the device has for it, and then the host's stack.
pub(super) const UNSPEC: u32 = u32::MAX;
/// One for each port and the overlay's.
pub(super) const ROWS: usize = 1 + PORTS as usize;
/// From one frame to the next: nothing is as it was a few ticks before.
const TICKS: u64 = 100;
const HOUR_NS: u64 = 3_600_000_000_000;
const FRAME_OCTETS_MIN: usize = 14 + 40;
/// A port that is in no world, by which the queue to the agent is filled.
const FILLER: u8 = PORTS;
const BUM_COPIES_PER_SECOND: u32 = 200_000;
/// Of the underlay's device.
pub(super) const UNDERLAY_MAC: MacAddr = MacAddr::new([0x02, 0, 0, 0, 0, 1]);
/// What every route leads to.
const NEXT_HOP: [u8; 4] = [192, 0, 2, 254];
/// As many as there are source ports.
const FLOWS: u32 = 16384;
const FILLER_VNI: u32 = 0x00aa_aaaa;

pub(super) struct Rig {
    programs: Programs,
    tables: Tables,
    /// By owner and kind: when all that was spent will have been earned again.
    budgets: HashMap<MapData, [u32; 2], u64>,
    /// Of frames out and in: when a flow last had one for the offload lane.
    flows: [Array<MapData, u64>; 2],
    requests: RingBuf<MapData>,
    witness: NonNull<Witness>,
    world: World,
    /// Of the ports' devices, by their numbers, and the filler's.
    indexes: Vec<u32>,
    overlay_index: u32,
    underlay_index: u32,
    route_index: u32,
    frame: Vec<u8>,
    result: Vec<u8>,
    _entries: ProgramArray<MapData>,
    _pins: PinDir,
}

/// What a frame made a program do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) verdict: u32,
    /// What the frame was in the end.
    pub(super) frame: Vec<u8>,
    /// What was sent where and how, or in words if it is none of the ways that there are.
    pub(super) ways: Vec<Result<Way, String>>,
    /// Copies that are not as the frame.
    pub(super) altered: Vec<String>,
    pub(super) requests: Vec<DhcpRequest>,
}

impl Rig {
    /// Sets it up in the thread's network namespace, which must be the rig's alone.
    pub(super) fn new(namespace: &Namespace, underlay: Underlay) -> Self {
        let device = |name: &str| {
            namespace.ip(&format!("link add {name} type veth peer name {name}-peer"));
            if_nametoindex(name).expect("a device")
        };
        let indexes: Vec<_> = (0..=FILLER).map(|port| device(&format!("port{port}"))).collect();
        let [overlay_index, underlay_index, route_index] = ["overlay", "underlay", "route"].map(device);
        namespace.ip(&format!("link set underlay address {UNDERLAY_MAC}"));
        let pins = PinDir::new();
        let folders = Pins::at(&pins.0, LAYOUT_VERSION);
        folders.make().expect("folders");
        let config = config(underlay.own_vtep(), &pins.0);
        let config = DatapathConfig { bum_copies_per_second: BUM_COPIES_PER_SECOND, ..config };
        let mut programs = Programs::load_from(WITNESSED, &folders, Hook::Tcx, &config).expect("loaded");
        programs.set_devices(Devices { overlay: overlay_index, route: route_index }).expect("set");
        let object = programs.object();
        let mut tables = Tables::take(object).expect("maps");
        let requests = object.take_map("dhcp_requests").expect("a map");
        let budgets = object.take_map("budgets").expect("a map");
        let flows = ["flows_out", "flows_in"].map(|name| {
            let map = object.take_map(name).expect("a map");
            map.try_into().expect("an array")
        });
        let witness = object.take_map("witness").expect("a map");
        let mut entries: ProgramArray<MapData> =
            object.take_map("entries").expect("a map").try_into().expect("an array");
        for which in [Which::FromPort, Which::FromOverlay, Which::FromUnderlay] {
            entries.set(which as u32, &fd(object, which.name()), 0).expect("set");
        }
        program(object, "enter").load().expect("loaded");
        tables.counters.add(OVERLAY_ROW).expect("added");
        indexes.iter().for_each(|index| tables.counters.add(*index).expect("added"));
        let aya::maps::Map::Array(witness) = &witness else { panic!("no array") };
        let mut rig = Self {
            programs,
            tables,
            budgets: budgets.try_into().expect("a hash map"),
            requests: requests.try_into().expect("a ring buffer"),
            witness: shared(witness),
            world: World { underlay, ..World::default() },
            flows,
            indexes,
            overlay_index,
            underlay_index,
            route_index,
            frame: Vec::new(),
            result: Vec::new(),
            _entries: entries,
            _pins: pins,
        };
        let witness = rig.witness();
        witness.random = fast_lane::RANDOM;
        (witness.route_ifindex, witness.route_next_hop) = (underlay_index, NEXT_HOP);
        rig.add_filler();
        rig
    }

    fn add_filler(&mut self) {
        let network = Network { mtu: 1500, managed: 1, ..Network::default() };
        self.tables.networks.set(FILLER_VNI, network).expect("set");
        let port = Port { vni: FILLER_VNI, mac: port_mac(FILLER).octets(), open: 1, kind: KIND_VETH };
        self.tables.ports.set(self.indexes[usize::from(FILLER)], port).expect("set");
    }

    /// Makes the maps hold that world.
    pub(super) fn set(&mut self, world: &World) {
        let Self { tables, indexes, .. } = self;
        let index = |port: &u8| indexes[usize::from(*port)];
        let held = &self.world;
        update(&mut tables.ports, &held.ports, &world.ports, index, |number, port: &world::Port| Port {
            vni: port.vni,
            mac: port_mac(*number).octets(),
            open: port.open.into(),
            kind: if port.tap { KIND_TAP } else { KIND_VETH },
        });
        update(
            &mut tables.networks,
            &held.networks,
            &world.networks,
            |vni| *vni,
            |_, network| Network {
                mtu: network.mtu_bytes,
                local_members: network.local_members,
                remote_members: network.remote_members,
                managed: network.managed.into(),
            },
        );
        let key = |(vni, mac): &(u32, MacAddr)| FdbKey { vni: *vni, mac: mac.octets(), unused: [0; 2] };
        update(&mut tables.fdb, &held.fdb, &world.fdb, key, |_, target| match target {
            Target::Port(port) => FdbTarget { ifindex: index(port), vtep: [0; 16] },
            Target::Vtep(vtep) => FdbTarget { ifindex: 0, vtep: vtep_octets(*vtep) },
        });
        let key = |(vni, address): &(u32, Ipv4Addr)| NeighborKey { vni: *vni, address: address.octets() };
        update(&mut tables.neighbors, &held.neighbors, &world.neighbors, key, |_, mac| Neighbor {
            mac: mac.octets(),
            unused: [0; 2],
        });
        let key = |(vni, vtep): &(u32, IpAddr)| VtepKey { vni: *vni, address: vtep_octets(*vtep) };
        let with_nothing = |vteps: &BTreeSet<_>| vteps.iter().map(|vtep| (*vtep, ())).collect();
        update(&mut tables.vteps, &with_nothing(&held.vteps), &with_nothing(&world.vteps), key, |_, ()| 0);
        let key = |(vni, slot): &(u32, u32)| MemberKey { vni: *vni, slot: *slot };
        update(&mut tables.local_members, &held.local_members, &world.local_members, key, |_, port| index(port));
        update(&mut tables.remote_members, &held.remote_members, &world.remote_members, key, |_, vtep| RemoteMember {
            vtep: vtep_octets(*vtep),
        });
        for budget in held.spent.difference(&world.spent) {
            // What no frame has cost anything has no entry.
            let _ = self.budgets.remove(&budget_key(*budget, index));
        }
        for budget in world.spent.difference(&held.spent) {
            self.budgets.insert(budget_key(*budget, index), u64::MAX / 2, 0).expect("set");
        }
        let route_result = world.route as u32;
        self.witness().route_result = route_result;
        let was_full = self.world.queue_full;
        self.world = world.clone();
        match (was_full, world.queue_full) {
            (false, true) => self.fill_queue(),
            (true, false) => while self.requests.next().is_some() {},
            _ => {}
        }
    }

    fn fill_queue(&mut self) {
        let frame = ethernet(BROADCAST, port_mac(FILLER), IPV4, &udp(68, 67, 300));
        let input = Input::plain(Door::Port(FILLER), frame);
        let drops = |rig: &Self| rig.row(rig.indexes[usize::from(FILLER)]).drops.iter().sum::<u64>();
        let before = drops(self);
        while drops(self) == before {
            self.enter(&input);
        }
    }

    /// Lets a program judge a frame, and tells what came of it. The queue to the agent is empty
    /// afterwards if it is not to be full.
    pub(super) fn run(&mut self, input: &Input) -> Seen {
        let verdict = self.enter(input);
        let witness = self.witness();
        let ways = witness.ways as usize;
        assert!(ways <= WAYS_MAX, "a frame that goes {ways} ways");
        let ways: Vec<_> = witness.way[..ways].to_vec();
        let altered = ways.iter().filter(|way| way.call == CALL_CLONE).filter_map(|way| altered(way, input));
        let mut seen = Seen {
            verdict,
            frame: self.result.clone(),
            altered: altered.collect(),
            ways: ways.iter().map(|way| self.decode(way)).collect(),
            requests: Vec::new(),
        };
        if !self.world.queue_full {
            while let Some(record) = self.requests.next() {
                seen.requests.push(crate::dhcp::read(&record).expect("a request"));
            }
        }
        seen
    }

    /// As [`run`](Self::run), so many ticks of the clock after the frame before.
    pub(super) fn run_after(&mut self, ticks: u64, input: &Input) -> Seen {
        self.witness().now_ticks -= TICKS - ticks;
        self.run(input)
    }

    fn enter(&mut self, input: &Input) -> u32 {
        let (program, index, tunnel) = match input.door {
            Door::Port(port) => (Which::FromPort, self.indexes[usize::from(port)], None),
            Door::Overlay(tunnel) => (Which::FromOverlay, self.overlay_index, tunnel),
            Door::Underlay => (Which::FromUnderlay, self.underlay_index, None),
        };
        let witness = self.witness();
        witness.program = program as u32;
        // Until the next one, every budget is earned again.
        witness.now_ns += HOUR_NS;
        witness.now_ticks += TICKS;
        witness.flow_hash = input.flow.hash;
        witness.octets = input.frame.len() as u32;
        (witness.vlan, witness.vlan_protocol) = match input.tag {
            Some(Tag { ethertype, tci }) => (TAGGED | u32::from(tci), u32::from(ethertype.to_be())),
            None => (0, 0),
        };
        witness.tunneled = tunnel.is_some().into();
        witness.tunnel_set = 0;
        witness.ways = 0;
        if let Some(Tunnel { vni, source }) = tunnel {
            // The kernel gives a program the source as the remote end; the rig sets it as the local one.
            let (local, flags) = TunnelKey::address(source);
            witness.tunnel_in = TunnelKey { vni, local, ..TunnelKey::default() };
            witness.tunnel_in_flags = flags;
        }
        let now_ticks = witness.now_ticks;
        if input.flow.rests {
            let (flows, port) = match input.door {
                Door::Underlay => (&mut self.flows[1], fast_lane::source_port_of(&input.frame)),
                _ => (&mut self.flows[0], fast_lane::source_port(input.flow.hash)),
            };
            flows.set(u32::from(port) % FLOWS, now_ticks - 1, 0).expect("set");
        }
        let mut context = [0u32; SKB_WORDS];
        context[SKB_IFINDEX] = index;
        if let Some(Segments { payload_octets, count }) = input.segments {
            (context[SKB_GSO_SEGS], context[SKB_GSO_SIZE]) = (count, payload_octets);
        }
        // SAFETY: numbers are octets.
        let context = unsafe { std::slice::from_raw_parts(context.as_ptr().cast(), size_of_val(&context)) };
        // The kernel takes no IP packet without a whole header from us, but it takes one from an instance.
        self.frame.clone_from(&input.frame);
        self.frame.resize(input.frame.len().max(FRAME_OCTETS_MIN), 0);
        self.result.resize(input.frame.len() + 512, 0);
        let run = program_ref(self.programs.object(), "enter").test_run(TestRunOptions {
            data_in: Some(&self.frame),
            data_out: Some(&mut self.result),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        });
        let run = run.unwrap_or_else(|error| panic!("{input}: {}", privnet_model::with_causes(&error)));
        self.result.truncate(run.data_size_out as usize);
        run.return_value
    }

    fn decode(&self, way: &WayTaken) -> Result<Way, String> {
        const ZERO_CSUM_TX: u32 = 1 << 1;
        let strange = || format!("{way:?}");
        if way.flags != 0 {
            return Err(strange());
        }
        if let Some(port) = self.indexes.iter().position(|index| *index == way.ifindex) {
            return match way.call {
                CALL_REDIRECT => Ok(Way::ByPort(port as u8)),
                CALL_REDIRECT_PEER => Ok(Way::IntoVeth(port as u8)),
                CALL_CLONE => Ok(Way::CopyByPort(port as u8)),
                _ => Err(strange()),
            };
        }
        if way.call == CALL_REDIRECT_NEIGH {
            return self.decode_directly(way).ok_or_else(strange);
        }
        let vtep = way.tunnel.remote_address(way.tunnel_flags);
        let (remote, flags) = TunnelKey::address(vtep);
        let (local, _) = TunnelKey::address(self.world.underlay.own_vtep());
        let TunnelKey { vni, .. } = way.tunnel;
        let ours = TunnelKey { vni, remote, local, ttl: 64, ..TunnelKey::default() };
        if way.ifindex != self.overlay_index
            || way.tunneled == 0
            || way.tunnel_flags != ZERO_CSUM_TX | flags
            || way.tunnel.read(flags) != ours
        {
            return Err(strange());
        }
        match way.call {
            CALL_REDIRECT => Ok(Way::ToVtep { vni, vtep }),
            CALL_CLONE => Ok(Way::CopyToVtep { vni, vtep }),
            _ => Err(strange()),
        }
    }

    /// By the underlay's device, with the outer headers in the frame, as the route says that was asked for
    /// with what is in these headers.
    fn decode_directly(&self, way: &WayTaken) -> Option<Way> {
        // SAFETY: as in `witness`.
        let question = unsafe { self.witness.as_ref() }.route;
        let vni = u32::from_be_bytes(*self.result.get(46..)?.first_chunk()?) >> 8;
        let address = |at: usize| self.result[at..].first_chunk::<4>().copied();
        let port = |at: usize| self.result[at..].first_chunk::<2>().copied();
        let expected = Route {
            family: 2,
            protocol: 17,
            source_port: port(34)?,
            destination_port: port(36)?,
            // Of this packet, or of a larger one in the same tick.
            octets: question.octets.max((self.result.len() - 14) as u16),
            ifindex: self.route_index,
            tos: self.result[15].into(),
            source: [address(26)?, [0; 4], [0; 4], [0; 4]],
            destination: [address(30)?, [0; 4], [0; 4], [0; 4]],
            rest: [0; 4],
        };
        let next_hop = NextHop { family: 2, address: [NEXT_HOP, [0; 4], [0; 4], [0; 4]] };
        let as_routed = question == expected && way.neighbor == next_hop && way.ifindex == self.underlay_index;
        as_routed.then(|| Way::ToVtepDirectly { vni, vtep: IpAddr::from(expected.destination[0]) })
    }

    /// What has been counted so far: the overlay's row, and each port's.
    pub(super) fn counters(&self) -> [Counters; ROWS] {
        let mut rows = [Counters::default(); ROWS];
        rows[0] = self.row(OVERLAY_ROW);
        for (row, index) in rows[1..].iter_mut().zip(&self.indexes) {
            *row = self.row(*index);
        }
        rows
    }

    fn row(&self, row: u32) -> Counters {
        let by_processor = self.tables.counters.get(row).expect("read").expect("a row");
        by_processor.into_iter().fold(Counters::default(), |sum, more| combine(sum, more, |a, b| a + b))
    }

    fn witness(&mut self) -> &mut Witness {
        // SAFETY: it is mapped as long as the rig lives, and the kernel writes it only while a program runs.
        unsafe { self.witness.as_mut() }
    }
}

/// Two rows, number by number.
pub(super) fn combine(row: Counters, other: Counters, how: impl Fn(u64, u64) -> u64) -> Counters {
    type Numbers = [u64; size_of::<Counters>() / size_of::<u64>()];
    // SAFETY: a row is nothing but such numbers.
    let (mut numbers, others) =
        unsafe { std::mem::transmute::<(Counters, Counters), (Numbers, Numbers)>((row, other)) };
    numbers.iter_mut().zip(others).for_each(|(number, other)| *number = how(*number, other));
    // SAFETY: as above.
    unsafe { std::mem::transmute::<Numbers, Counters>(numbers) }
}

/// Changes a map from what it holds to what is wanted.
fn update<K, V, MapKey, MapValue>(
    table: &mut Table<MapKey, MapValue>,
    held: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    key: impl Fn(&K) -> MapKey,
    value: impl Fn(&K, &V) -> MapValue,
) where
    K: Ord,
    V: PartialEq,
    MapKey: Pod + Default,
    MapValue: Pod + Default,
{
    for gone in held.keys().filter(|held| !wanted.contains_key(held)) {
        table.remove(&key(gone)).expect("removed");
    }
    for (of, wanted) in wanted.iter().filter(|(of, wanted)| held.get(of) != Some(wanted)) {
        table.set(key(of), value(of, wanted)).expect("set");
    }
}

/// struct budget_key.
fn budget_key(budget: Budget, index: impl Fn(&u8) -> u32) -> [u32; 2] {
    match budget {
        Budget::PortBum(port) => [index(&port), 0],
        Budget::PortDhcp(port) => [index(&port), 1],
        Budget::NetworkBum(vni) => [vni, 2],
        Budget::PortIcmp(port) => [index(&port), 3],
    }
}

/// In what a copy is not as the frame that came in.
fn altered(way: &WayTaken, input: &Input) -> Option<String> {
    let head = &way.head[..input.frame.len().min(HEAD_OCTETS)];
    let vlan = input.tag.map_or(0, |tag| TAGGED | u32::from(tag.tci));
    let same = way.octets as usize == input.frame.len() && input.frame.starts_with(head) && way.vlan == vlan;
    (!same).then(|| format!("{way:?}"))
}

fn program<'a>(object: &'a mut aya::Ebpf, name: &str) -> &'a mut SchedClassifier {
    object.program_mut(name).expect("a program").try_into().expect("a classifier")
}

fn program_ref<'a>(object: &'a mut aya::Ebpf, name: &str) -> &'a SchedClassifier {
    program(object, name)
}

fn fd(object: &mut aya::Ebpf, name: &str) -> ProgramFd {
    program(object, name).fd().expect("loaded").try_clone().expect("another one")
}

/// struct __sk_buff, in words.
const SKB_WORDS: usize = 48;
const SKB_IFINDEX: usize = 10;
const SKB_GSO_SEGS: usize = 41;
const SKB_GSO_SIZE: usize = 44;
