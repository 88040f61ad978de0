//! Loading the eBPF programs, and attaching them to devices so that they stay when the agent goes.
//!
//! from_port is a clsact filter on every kernel. A tcx link would do, but the kernel waits for all its
//! processors (an RCU grace period, 8 to 16 ms at 250 Hz) with the lock of all devices held whenever it
//! attaches the first one to a device, and an attach makes one device; a filter takes 0.1 ms.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use aya::maps::{Array, MapError};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};

use crate::error::Step;
use crate::netlink::{Link, Socket};
use crate::pins::{Pins, remove_pin};
use crate::sys;
use crate::{DatapathConfig, KernelError};

pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/privnet.bpf.o"));

/// How programs are attached, but for from_port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// By a pinned link (tcx, Linux 6.6), which nobody removes by accident.
    Tcx,
    /// As a filter of the device's clsact queueing discipline.
    Clsact,
}

/// Which program.
#[expect(clippy::enum_variant_names, reason = "as the object has them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    FromPort,
    FromOverlay,
    FromUnderlay,
}

/// Which version of a program a device has, the one to go by last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// No program of ours.
    None,
    /// One that another agent has loaded, and that judges by other maps than the one that this agent has
    /// loaded would.
    OtherMaps,
    /// One that another agent has loaded, and that judges by the same maps.
    SameMaps,
    /// The one that this agent has loaded.
    Loaded,
}

/// Our devices that the programs must know: `devices` in bpf/deliver.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Devices {
    pub(crate) overlay: u32,
    /// 0 as long as frames shall not take the fast lane.
    pub(crate) route: u32,
}

// SAFETY: numbers without padding, valid whatever their octets.
unsafe impl aya::Pod for Devices {}

/// The loaded programs.
pub(crate) struct Programs {
    object: Ebpf,
    from_port: Loaded,
    from_overlay: Loaded,
    from_underlay: Loaded,
    hook: Hook,
    pins: Pins,
}

/// What one copy costs is counted in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// What the kernel knows a loaded program by.
struct Loaded {
    id: u32,
    /// The ids of the pinned maps that it uses. All others begin empty with each agent.
    maps: Vec<u32>,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl Hook {
    /// The best one that this kernel has.
    pub(crate) fn of_this_kernel() -> Result<Self, KernelError> {
        const LOOPBACK_INDEX: u32 = 1;
        match sys::tcx_programs(LOOPBACK_INDEX) {
            Ok(_) => Ok(Self::Tcx),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Self::Clsact),
            Err(error) => Err(error).step(format_args!("ask the kernel for the eBPF programs of a device")),
        }
    }
}

impl Which {
    /// Its name in the object.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FromPort => "from_port",
            Self::FromOverlay => "from_overlay",
            Self::FromUnderlay => "from_underlay",
        }
    }
}

impl Programs {
    /// Loads them, with the maps that are pinned or new ones.
    pub(crate) fn load(pins: &Pins, hook: Hook, config: &DatapathConfig) -> Result<Self, KernelError> {
        Self::load_from(OBJECT, pins, hook, config)
    }

    /// Loads them from an object that has them.
    pub(crate) fn load_from(
        bytes: &[u8],
        pins: &Pins,
        hook: Hook,
        config: &DatapathConfig,
    ) -> Result<Self, KernelError> {
        let (ipv4, ipv6) = match config.vtep {
            IpAddr::V4(vtep) => (u32::from(vtep), [0; 16]),
            IpAddr::V6(vtep) => (0, vtep.octets()),
        };
        let bum_copy_ns = SECOND_NS.checked_div(config.bum_copies_per_second.into()).unwrap_or(0);
        let mut object = EbpfLoader::new()
            .default_map_pin_directory(pins.maps())
            .override_global("local_vtep_ipv4", &ipv4, true)
            .override_global("local_vtep_ipv6", &ipv6, true)
            .override_global("vxlan_port", &config.vxlan_port, true)
            .override_global("bum_copy_ns", &bum_copy_ns, true)
            .load(bytes)
            .step(format_args!("load the eBPF object"))?;
        let pinned = pins.map_ids()?;
        let from_port = load(&mut object, Which::FromPort, &pinned)?;
        let from_overlay = load(&mut object, Which::FromOverlay, &pinned)?;
        let from_underlay = load(&mut object, Which::FromUnderlay, &pinned)?;
        Ok(Self { object, from_port, from_overlay, from_underlay, hook, pins: pins.clone() })
    }

    /// The object, to take the maps from.
    pub(crate) fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// Pins a program, to be attached by somebody else.
    #[cfg(test)]
    pub(crate) fn pin(&mut self, which: Which, path: &std::path::Path) {
        program(&mut self.object, which).expect("in the object").pin(path).expect("pinned");
    }

    /// Tells the programs which devices are ours.
    pub(crate) fn set_devices(&mut self, devices: Devices) -> Result<(), KernelError> {
        let variables = self.object.map_mut(".bss").ok_or(MapError::ElementNotFound);
        let set = variables.and_then(Array::try_from).and_then(|mut variables| variables.set(0, devices, 0));
        set.step(format_args!("tell the eBPF programs the indexes of our devices"))
    }

    /// Attaches a program to a device's ingress, in the place of an earlier version of it.
    pub(crate) fn attach(&mut self, netlink: &mut Socket, which: Which, device: &Link) -> Result<(), KernelError> {
        let attached = match self.hook(which) {
            Hook::Tcx => self.attach_link(which, device),
            Hook::Clsact if which == Which::FromUnderlay => self.attach_guest_filter(netlink, device),
            Hook::Clsact => self.attach_filter(netlink, which, device),
        };
        attached.step(format_args!("attach {} to device {}", which.name(), device.name))
    }

    /// Which version of a program a device has.
    pub(crate) fn on(&self, netlink: &mut Socket, which: Which, device: &Link) -> Result<Version, KernelError> {
        let ids = match self.hook(which) {
            Hook::Tcx => links_on(device.index),
            Hook::Clsact if which == Which::FromUnderlay => guest_filter_on(netlink, device.index),
            Hook::Clsact => filters_on(netlink, &[device.index]).map(|ids| ids.into_iter().flatten().collect()),
        };
        let version = ids.and_then(|ids| {
            let versions = ids.into_iter().map(|id| self.version(which, id)).collect::<io::Result<Vec<_>>>()?;
            Ok(versions.into_iter().max().unwrap_or(Version::None))
        });
        version.step(format_args!("ask for the eBPF programs of device {}", device.name))
    }

    /// Detaches from_underlay from a device that may be gone.
    pub(crate) fn detach_from_underlay(&self, netlink: &mut Socket, ifindex: u32) -> Result<(), KernelError> {
        detach_from_underlay(&self.pins, netlink, ifindex)
    }

    /// Which version of from_port each of these ports' devices has.
    pub(crate) fn on_ports(&self, netlink: &mut Socket, devices: &[&Link]) -> Result<Vec<Version>, KernelError> {
        let indexes: Vec<_> = devices.iter().map(|device| device.index).collect();
        let versions = filters_on(netlink, &indexes).and_then(|ids| {
            let mut known = BTreeMap::new();
            for id in ids.iter().flatten() {
                if !known.contains_key(id) {
                    known.insert(*id, self.version(Which::FromPort, *id)?);
                }
            }
            Ok(ids.into_iter().map(|id| id.map_or(Version::None, |id| known[&id])).collect())
        });
        versions.step(format_args!("ask for the eBPF programs of the ports"))
    }

    /// Which version of it a program is.
    fn version(&self, which: Which, id: u32) -> io::Result<Version> {
        let loaded = self.loaded(which);
        if id == loaded.id {
            return Ok(Version::Loaded);
        }
        Ok(match sys::program(id)?.filter(|program| program.name == which.name()) {
            None => Version::None,
            Some(program) if loaded.maps.iter().all(|map| program.maps.contains(map)) => Version::SameMaps,
            Some(_) => Version::OtherMaps,
        })
    }

    fn loaded(&self, which: Which) -> &Loaded {
        match which {
            Which::FromPort => &self.from_port,
            Which::FromOverlay => &self.from_overlay,
            Which::FromUnderlay => &self.from_underlay,
        }
    }

    fn hook(&self, which: Which) -> Hook {
        match which {
            Which::FromPort => Hook::Clsact,
            Which::FromOverlay | Which::FromUnderlay => self.hook,
        }
    }

    /// Where the link of a device's program is pinned. Others' devices may have names that no pin can have.
    fn link(&self, which: Which, device: &Link) -> PathBuf {
        match which {
            Which::FromPort | Which::FromOverlay => self.pins.link(&device.name),
            Which::FromUnderlay => self.pins.underlay_link(device.index),
        }
    }

    fn attach_link(&mut self, which: Which, device: &Link) -> Result<(), BoxError> {
        if self.swap(which, device)? {
            return Ok(());
        }
        // A link that was pinned for an earlier device of this name or index holds nothing any more.
        let path = self.link(which, device);
        remove_pin(&path)?;
        let program = program(&mut self.object, which)?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&device.name, TcAttachType::Ingress, first)?;
        FdLink::try_from(program.take_link(id)?)?.pin(path)?;
        Ok(())
    }

    /// Puts a program in the place of its earlier version. Returns whether that was there.
    fn swap(&mut self, which: Which, device: &Link) -> Result<bool, BoxError> {
        let Ok(pinned) = PinnedLink::from_pin(self.link(which, device)) else { return Ok(false) };
        let program = program(&mut self.object, which)?;
        match program.attach_to_link(FdLink::from(pinned).try_into()?) {
            Ok(id) => drop(program.take_link(id)?),
            Err(_) => return Ok(false),
        }
        Ok(sys::tcx_programs(device.index)?.contains(&self.loaded(which).id))
    }

    fn attach_guest_filter(&mut self, netlink: &mut Socket, device: &Link) -> Result<(), BoxError> {
        self.pins.note_guest_filter(device.index)?;
        if netlink.add_clsact(device.index)? {
            self.pins.note_guest_clsact(device.index)?;
        }
        let program = program(&mut self.object, Which::FromUnderlay)?;
        Ok(netlink.set_guest_filter(device.index, program.fd()?.as_fd())?)
    }

    fn attach_filter(&mut self, netlink: &mut Socket, which: Which, device: &Link) -> Result<(), BoxError> {
        let program = program(&mut self.object, which)?;
        Ok(netlink.set_filter(device.index, program.fd()?.as_fd())?)
    }
}

/// Detaches from_underlay, in whichever way it is attached, from a device that may be gone.
pub(crate) fn detach_from_underlay(pins: &Pins, netlink: &mut Socket, ifindex: u32) -> Result<(), KernelError> {
    let mut detached = || -> Result<(), BoxError> {
        if pins.has_guest_filter(ifindex) {
            netlink.remove_guest_filter(ifindex)?;
            if pins.has_guest_clsact(ifindex) {
                netlink.remove_idle_clsact(ifindex)?;
            }
        }
        Ok(pins.remove_underlay_link(ifindex)?)
    };
    detached().step(format_args!("detach from_underlay from device {ifindex}"))
}

/// The ids of the programs that a device has by links; none if it has just gone.
fn links_on(ifindex: u32) -> Result<Vec<u32>, BoxError> {
    match sys::tcx_programs(ifindex) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// The id of the program that each of these devices has by our filter.
fn filters_on(netlink: &mut Socket, indexes: &[u32]) -> Result<Vec<Option<u32>>, BoxError> {
    Ok(netlink.filter_programs(indexes)?)
}

/// The id of the program that a device which is not ours has by our filter.
fn guest_filter_on(netlink: &mut Socket, ifindex: u32) -> Result<Vec<u32>, BoxError> {
    Ok(netlink.guest_filter(ifindex)?.into_iter().collect())
}

fn load(object: &mut Ebpf, which: Which, pinned: &BTreeSet<u32>) -> Result<Loaded, KernelError> {
    let loaded = program(object, which).map_err(BoxError::from).and_then(|program| {
        program.load()?;
        let info = program.info()?;
        let maps = info.map_ids()?.unwrap_or_default().into_iter().filter(|map| pinned.contains(map));
        Ok(Loaded { id: info.id(), maps: maps.collect() })
    });
    loaded.step(format_args!("load the eBPF program {}", which.name()))
}

fn program(object: &mut Ebpf, which: Which) -> Result<&mut SchedClassifier, ProgramError> {
    object.program_mut(which.name()).ok_or(ProgramError::NotLoaded)?.try_into()
}
