//! The zone's rules, by the paragraphs of the design that state them. The numbers of invariants are
//! those of its section 4.

mod addresses;
mod generations;
mod joining;
mod moves;
mod operations;
mod organizations;
mod properties;
mod refusals;
mod retries;
mod taps;
mod tenants;
mod views;
mod vnis;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Caller, Change, Circumstances, Command, CreateNetwork, Decision, DeviceWish, Outcome, RangeFields, Refusal, Zone,
};
use crate::testing::founded;
use crate::{
    Description, DhcpOptions, HostFacts, HostId, HostName, Instance, InstanceId, Labels, Lease, LeaseKind, Name, Netns,
    Network, NetworkId, Operation, Placement, Port, SignedRequest, Subject, Timestamp,
};

const NOW: Timestamp = Timestamp::from_unix_ms(1_790_000_000_000);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// A zone, and what decisions take from the world: the same moment unless a test says otherwise, and numbers that are all
/// different.
struct World {
    zone: Zone,
    /// The next random numbers, before those that come by themselves.
    scripted: VecDeque<u64>,
    drawn: u64,
    now: Timestamp,
    caller: Caller,
    request: Option<SignedRequest>,
}

impl Default for World {
    fn default() -> Self {
        Self { zone: founded(), scripted: VecDeque::new(), drawn: 0, now: NOW, caller: Caller::Server, request: None }
    }
}

impl World {
    fn decide(&mut self, command: &Command) -> Result<Decision, Refusal> {
        let Self { zone, scripted, drawn, now, caller, request } = self;
        let random = &mut || {
            *drawn += 1;
            scripted.pop_front().unwrap_or(drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        let mut circumstances = Circumstances {
            caller: *caller,
            request: *request,
            now: *now,
            operation_timeout: OPERATION_TIMEOUT,
            random,
            makes_instances: &|_| true,
        };
        zone.decide(command, &mut circumstances)
    }

    fn submit(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        let decision = self.decide(command)?;
        decision.changes.iter().for_each(|change| self.zone.apply(change));
        Ok(decision.outcome)
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.submit(command).expect("it is accepted")
    }

    /// The changes that a command makes, which are applied.
    fn changes(&mut self, command: &Command) -> Vec<Change> {
        let decision = self.decide(command).expect("it is accepted");
        decision.changes.iter().for_each(|change| self.zone.apply(change));
        decision.changes
    }

    fn operation(&mut self, command: &Command) -> Arc<Operation> {
        match self.run(command) {
            Outcome::Operation(operation) => operation,
            other => panic!("no operation: {other:?}"),
        }
    }

    fn refused(&mut self, command: &Command) -> Refusal {
        self.submit(command).expect_err("it is refused")
    }

    fn host(&mut self, number: u8) -> HostId {
        match self.run(&register_host(number)) {
            Outcome::Host(host) => host.id,
            other => panic!("no host: {other:?}"),
        }
    }

    /// An instance on host `number`, which is made where it is not there.
    fn instance_on(&mut self, number: u8) -> InstanceId {
        self.host(number);
        match self.run(&create_instance(number)) {
            Outcome::Instance(instance) => instance.id,
            other => panic!("no instance: {other:?}"),
        }
    }

    fn instance(&mut self) -> InstanceId {
        self.instance_on(1)
    }

    fn network(&mut self, range: RangeFields) -> NetworkId {
        match self.operation(&create_network(range)).subject {
            Subject::Network(network) => network,
            other => panic!("no network: {other:?}"),
        }
    }

    /// A network that leases 10.0.0.`start` to 10.0.0.`end`.
    fn managed(&mut self, start: u8, end: u8) -> NetworkId {
        self.network(range(start, end))
    }

    fn unmanaged(&mut self) -> NetworkId {
        self.network(RangeFields::default())
    }

    fn attach(&mut self, network: NetworkId, instance: InstanceId) -> Arc<Port> {
        self.run(&attach(network, instance));
        self.port(network, instance)
    }

    /// A new instance on host 1, attached to the network.
    fn attached(&mut self, network: NetworkId) -> InstanceId {
        let instance = self.instance();
        self.attach(network, instance);
        instance
    }

    fn attach_static(&mut self, network: NetworkId, instance: InstanceId, last: u8) -> Arc<Port> {
        self.run(&Command::Attach { network, instance, address: Some(ip(last)), device: DeviceWish::default() });
        self.port(network, instance)
    }

    fn detach(&mut self, network: NetworkId, instance: InstanceId) {
        self.run(&Command::Detach { network, instance });
    }

    fn port(&self, network: NetworkId, instance: InstanceId) -> Arc<Port> {
        Arc::clone(self.zone.port(network, instance).expect("it is attached"))
    }

    fn record(&self, network: NetworkId) -> Arc<Network> {
        Arc::clone(self.zone.network(network).expect("it is there"))
    }

    fn host_of(&self, instance: InstanceId) -> HostId {
        self.zone.instance(instance).expect("it is there").host
    }
}

fn register_host(number: u8) -> Command {
    let facts =
        HostFacts { vtep: IpAddr::from([192, 0, 2, number]), underlay_mtu_bytes: 1500, version: "0.1.0".to_owned() };
    Command::RegisterHost { name: host_name(number), facts }
}

fn create_instance(host: u8) -> Command {
    let netns = Netns::try_from("web1").expect("valid");
    let placement = Placement::Netns(netns);
    Command::CreateInstance {
        name: name("web1"),
        host: host_name(host),
        placement,
        organization: None,
        labels: Labels::new(),
    }
}

fn create_network(range: RangeFields) -> Command {
    Command::CreateNetwork(CreateNetwork {
        name: name("network"),
        description: Description::default(),
        range,
        options: DhcpOptions::default(),
        labels: Labels::new(),
    })
}

fn attach(network: NetworkId, instance: InstanceId) -> Command {
    Command::Attach { network, instance, address: None, device: DeviceWish::default() }
}

/// To host `number`, plugged in as before.
fn move_to(instance: InstanceId, host: u8) -> Command {
    Command::MoveInstance { instance, host: host_name(host), placement: None }
}

fn host_name(number: u8) -> HostName {
    HostName::try_from(format!("host-{number}").as_str()).expect("valid")
}

fn name(text: &str) -> Name {
    Name::try_from(text).expect("valid")
}

fn range(start: u8, end: u8) -> RangeFields {
    RangeFields { start: Some(ip(start)), end: Some(ip(end)), netmask: Some(Ipv4Addr::new(255, 255, 255, 0)) }
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn dynamic(last: u8) -> Option<Lease> {
    Some(Lease { address: ip(last), kind: LeaseKind::Dynamic })
}

fn fixed(last: u8) -> Option<Lease> {
    Some(Lease { address: ip(last), kind: LeaseKind::Static })
}
