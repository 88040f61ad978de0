use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::Error as Errno;
use privnet_model::MacAddr;

use super::message::{text, u16_at, u32_at};
use super::{Attributes, Message, NetlinkError, Socket};
use crate::names::Openers;

const LINK_HEADER_OCTETS: usize = 16;
const ADDRESS_HEADER_OCTETS: usize = 8;
const IFLA_AF_SPEC: u16 = 26;
const ARPHRD_ETHER: u16 = 1;
const IF_OPER_UP: u8 = 6;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT_RANGE: u16 = 10;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_UDP_ZERO_CSUM6_RX: u16 = 20;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const RTM_NEWLINKPROP: u16 = 108;
const IFLA_TUN_OWNER: u16 = 1;
const IFLA_TUN_GROUP: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_FORWARDING: u16 = 1;
const IPV4_DEVCONF_PROMOTE_SECONDARIES: u16 = 20;
/// Leave the statistics out of a dump.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const UP: u32 = libc::IFF_UP as u32;

/// A network device, as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// It is found by these as well.
    pub(crate) other_names: Vec<String>,
    pub(crate) alias: String,
    /// `None` unless it has one of Ethernet.
    pub(crate) mac: Option<MacAddr>,
    pub(crate) kind: String,
    pub(crate) mtu_bytes: u32,
    pub(crate) is_ethernet: bool,
    pub(crate) is_up: bool,
    /// Whether it can send: the kernel sees to that in the background when the other end comes up.
    pub(crate) is_operational: bool,
    /// The other end of a veth pair, if that is in another network namespace.
    pub(crate) peer: Option<Peer>,
    /// `None` unless it is a vxlan device.
    pub(crate) vxlan: Option<Vxlan>,
    /// `None` unless it is a tun or a tap.
    pub(crate) tun: Option<Tun>,
    /// Whether what comes in by it may be forwarded as IPv4.
    pub(crate) forwards_ipv4: bool,
}

/// What a vxlan device is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vxlan {
    /// The UDP port.
    pub(crate) port: u16,
    /// Between which UDP ports it sends from.
    pub(crate) source_ports: [u16; 2],
    /// Whether its tunnels are chosen frame by frame.
    pub(crate) has_metadata: bool,
    /// Whether it takes IPv6 packets without a UDP checksum.
    pub(crate) takes_zero_checksums: bool,
}

/// What a tun or a tap is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tun {
    pub(crate) is_tap: bool,
    pub(crate) is_multi_queue: bool,
    pub(crate) openers: Openers,
}

/// Where the other end of a veth pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its index there.
    pub(crate) index: u32,
    /// This namespace's number for the other one.
    netns_id: u32,
}

/// A veth pair to be made.
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) mtu_bytes: u32,
    pub(crate) peer_mtu_bytes: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: MacAddr,
    pub(crate) peer_netns: BorrowedFd<'a>,
}

impl Socket {
    /// All devices.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = || {
            Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[&header(0, 0, 0)])
                .attribute(libc::IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        };
        self.dump(request, Link::read)
    }

    /// The device of this name, if there is one.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_ACK, &[&header(0, 0, 0)]);
        self.find(request.text(libc::IFLA_IFNAME, name))
    }

    /// The device with this index, if there is one.
    pub(crate) fn link_at(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        self.find(Message::new(libc::RTM_GETLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)]))
    }

    /// The other end of a veth pair, if it is there.
    pub(crate) fn peer(&mut self, peer: Peer) -> Result<Option<Link>, NetlinkError> {
        let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_ACK, &[&header(peer.index, 0, 0)]);
        self.find(request.attribute(libc::IFLA_TARGET_NETNSID, &peer.netns_id.to_ne_bytes()))
    }

    fn find(&mut self, request: Message) -> Result<Option<Link>, NetlinkError> {
        let request = request.attribute(libc::IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let mut found = None;
        match self.transact(request, &mut |_, body| found = Link::read(body)) {
            Err(error) if error.errno == Errno::ENODEV => Ok(None),
            other => other.map(|()| found),
        }
    }

    /// Makes a veth pair, down, with its other end in that namespace.
    pub(crate) fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), NetlinkError> {
        let [mtu, peer_mtu] = [veth.mtu_bytes, veth.peer_mtu_bytes].map(u32::to_ne_bytes);
        let netns = veth.peer_netns.as_raw_fd().to_ne_bytes();
        let peer = |message: Message| {
            message
                .raw(&header(0, 0, 0))
                .text(libc::IFLA_IFNAME, veth.peer_name)
                .attribute(libc::IFLA_ADDRESS, &veth.peer_mac.octets())
                .attribute(libc::IFLA_MTU, &peer_mtu)
                .attribute(libc::IFLA_NET_NS_FD, &netns)
        };
        let request = new_link(veth.name).attribute(libc::IFLA_MTU, &mtu).nested(libc::IFLA_LINKINFO, |message| {
            message
                .text(libc::IFLA_INFO_KIND, "veth")
                .nested(libc::IFLA_INFO_DATA, |message| message.nested(VETH_INFO_PEER, peer))
        });
        self.request(request)
    }

    /// Sets a device's alias. The kernel does not take it when it makes a device.
    pub(crate) fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        let request = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)]);
        self.request(request.attribute(libc::IFLA_IFALIAS, alias.as_bytes()))
    }

    /// Gives a device a further name.
    pub(crate) fn add_name(&mut self, index: u32, name: &str) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let request = Message::new(RTM_NEWLINKPROP, flags, &[&header(index, 0, 0)]);
        // The flag is asked for of the kinds of messages that are younger than it.
        let list = IFLA_PROP_LIST | libc::NLA_F_NESTED as u16;
        self.request(request.nested(list, |message| message.text(IFLA_ALT_IFNAME, name)))
    }

    /// Makes a vxlan device, down.
    pub(crate) fn add_vxlan(&mut self, name: &str, vxlan: Vxlan, mtu_bytes: u32) -> Result<(), NetlinkError> {
        let Vxlan { port, source_ports, has_metadata, takes_zero_checksums } = vxlan;
        let range = source_ports.map(u16::to_be_bytes).concat();
        let request =
            new_link(name).attribute(libc::IFLA_MTU, &mtu_bytes.to_ne_bytes()).nested(libc::IFLA_LINKINFO, |message| {
                message.text(libc::IFLA_INFO_KIND, "vxlan").nested(libc::IFLA_INFO_DATA, |message| {
                    message
                        .attribute(IFLA_VXLAN_LEARNING, &[0])
                        .attribute(IFLA_VXLAN_COLLECT_METADATA, &[has_metadata.into()])
                        .attribute(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, &[takes_zero_checksums.into()])
                        .attribute(IFLA_VXLAN_PORT, &port.to_be_bytes())
                        .attribute(IFLA_VXLAN_PORT_RANGE, &range)
                })
            });
        self.request(request)
    }

    /// Sets a device's MTU.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu_bytes: u32) -> Result<(), NetlinkError> {
        let request = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)]);
        self.request(request.attribute(libc::IFLA_MTU, &mtu_bytes.to_ne_bytes()))
    }

    /// Moves a device to another network namespace, where nothing has its name.
    pub(crate) fn move_to(&mut self, netns: BorrowedFd<'_>, index: u32) -> Result<(), NetlinkError> {
        let request = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)]);
        self.request(request.attribute(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes()))
    }

    /// Lets a device forward IPv4.
    pub(crate) fn forward_ipv4(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.switch_on(index, IPV4_DEVCONF_FORWARDING)
    }

    /// Lets the other IPv4 addresses of a device stay when the first one of their subnet goes.
    pub(crate) fn promote_secondaries(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.switch_on(index, IPV4_DEVCONF_PROMOTE_SECONDARIES)
    }

    /// Switches one of a device's settings for IPv4 on.
    fn switch_on(&mut self, index: u32, setting: u16) -> Result<(), NetlinkError> {
        let request = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)]);
        self.request(request.nested(IFLA_AF_SPEC, |message| {
            message.nested(libc::AF_INET as u16, |message| {
                message.nested(IFLA_INET_CONF, |message| message.attribute(setting, &1u32.to_ne_bytes()))
            })
        }))
    }

    /// Sets a device up.
    pub(crate) fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.request(Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &[&header(index, UP, UP)]))
    }

    /// Removes a device, if it is there.
    pub(crate) fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        match self.request(Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &[&header(index, 0, 0)])) {
            Err(error) if error.errno == Errno::ENODEV => Ok(()),
            other => other,
        }
    }

    /// The index of the device that has this address.
    pub(crate) fn device_with(&mut self, address: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let header = [family as u8, 0, 0, 0, 0, 0, 0, 0];
        let request = || Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[&header]);
        let found = self.dump(request, |body| {
            let attributes = Attributes::new(body.get(ADDRESS_HEADER_OCTETS..)?);
            // An IPv6 address without a peer is told as IFA_ADDRESS alone.
            let own = attributes.get(libc::IFA_LOCAL).or_else(|| attributes.get(libc::IFA_ADDRESS))?;
            (own == octets).then(|| u32_at(body, 4)).flatten()
        })?;
        Ok(found.first().copied())
    }
}

impl Link {
    /// Reads an RTM_NEWLINK or RTM_DELLINK message.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let attributes = Attributes::new(body.get(LINK_HEADER_OCTETS..)?);
        let info = attributes.within(libc::IFLA_LINKINFO);
        let data = info.within(libc::IFLA_INFO_DATA);
        let string = |from: Attributes<'_>, kind| from.get(kind).map(text).unwrap_or_default();
        let kind = string(info, libc::IFLA_INFO_KIND);
        let is_on = |kind| data.get(kind).is_some_and(|value| value != [0]);
        let port = data.get(IFLA_VXLAN_PORT).and_then(<[u8]>::first_chunk).map(|port| u16::from_be_bytes(*port));
        let range = data.get(IFLA_VXLAN_PORT_RANGE).and_then(<[u8]>::first_chunk);
        let range: [u8; 4] = range.copied().unwrap_or_default();
        let [low, high] = [[range[0], range[1]], [range[2], range[3]]].map(u16::from_be_bytes);
        let vxlan = port.filter(|_| kind == "vxlan").map(|port| Vxlan {
            port,
            source_ports: [low, high],
            has_metadata: is_on(IFLA_VXLAN_COLLECT_METADATA),
            takes_zero_checksums: is_on(IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
        });
        let tun = (kind == "tun").then(|| Tun {
            is_tap: data.get(IFLA_TUN_TYPE) == Some(&[libc::IFF_TAP as u8]),
            is_multi_queue: is_on(IFLA_TUN_MULTI_QUEUE),
            openers: Openers {
                uid: data.get(IFLA_TUN_OWNER).and_then(|owner| u32_at(owner, 0)),
                gid: data.get(IFLA_TUN_GROUP).and_then(|group| u32_at(group, 0)),
            },
        });
        let settings = attributes.within(IFLA_AF_SPEC).within(libc::AF_INET as u16).get(IFLA_INET_CONF);
        let number = |kind| attributes.get(kind).and_then(|value| u32_at(value, 0));
        let peer = |index| Some(Peer { index, netns_id: number(libc::IFLA_LINK_NETNSID)? });
        Some(Self {
            index: u32_at(body, 4)?,
            name: string(attributes, libc::IFLA_IFNAME),
            other_names: attributes.within(IFLA_PROP_LIST).all(IFLA_ALT_IFNAME).map(text).collect(),
            alias: string(attributes, libc::IFLA_IFALIAS),
            mac: attributes
                .get(libc::IFLA_ADDRESS)
                .and_then(|octets| <[u8; 6]>::try_from(octets).ok())
                .map(MacAddr::from),
            kind,
            mtu_bytes: number(libc::IFLA_MTU).unwrap_or_default(),
            is_ethernet: u16_at(body, 2)? == ARPHRD_ETHER,
            is_up: u32_at(body, 8)? & UP != 0,
            is_operational: attributes.get(libc::IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
            peer: number(libc::IFLA_LINK).and_then(peer),
            vxlan,
            tun,
            // Settings are numbers in their order, from the first.
            forwards_ipv4: settings.and_then(|settings| u32_at(settings, 0)).is_some_and(|setting| setting != 0),
        })
    }
}

fn new_link(name: &str) -> Message {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Message::new(libc::RTM_NEWLINK, flags, &[&header(0, 0, 0)]).text(libc::IFLA_IFNAME, name)
}

/// struct ifinfomsg (rtnetlink(7)).
fn header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_OCTETS] {
    let mut octets = [0; LINK_HEADER_OCTETS];
    octets[4..8].copy_from_slice(&index.to_ne_bytes());
    octets[8..12].copy_from_slice(&flags.to_ne_bytes());
    octets[12..16].copy_from_slice(&change.to_ne_bytes());
    octets
}
