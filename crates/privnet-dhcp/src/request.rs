use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use dhcproto::v4::{MAGIC, MessageType, OptionCode};
use privnet_model::MacAddr;

/// The BOOTP fields before the options (RFC 2131 §2), without the magic cookie.
const FIELDS_BYTES: usize = 236;

/// Where the fields are that may hold options, too, in the order in which they are read (RFC 2131 §2 and §4.1).
pub(crate) const FILE: Range<usize> = 108..236;
pub(crate) const SNAME: Range<usize> = 44..108;

/// `op` of a request (RFC 2131 §2).
const BOOTREQUEST: u8 = 1;

/// `htype` and `hlen` of Ethernet (RFC 1700, "Hardware Type").
const ETHERNET: (u8, u8) = (1, 6);

/// Why a UDP payload is no DHCP request. In the order in which they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its fields and magic cookie do.
    #[error("{0} octets are too few")]
    TooShort(usize),
    /// A reply, or nothing that BOOTP knows.
    #[error("op {0} is not BOOTREQUEST")]
    NotRequest(u8),
    /// Its hardware address is no MAC address.
    #[error("hardware type {htype} with addresses of {hlen} octets is not Ethernet")]
    NotEthernet {
        /// As given.
        htype: u8,
        /// As given.
        hlen: u8,
    },
    /// BOOTP without DHCP's magic cookie (RFC 2131 §3).
    #[error("no DHCP magic cookie")]
    NoCookie,
    /// An option goes on after its field or the message has ended.
    #[error("option {0} is longer than the field that it is in")]
    OptionOverlong(u8),
    /// Option 52 names no fields that there are (RFC 2132 §9.3).
    #[error("option 52 is {0}, not 1, 2 or 3")]
    Overload(u8),
    /// An option's length is not what its definition says (RFC 2132).
    #[error("option {code} has {bytes} octets")]
    OptionLength {
        /// Which option.
        code: u8,
        /// How long it is.
        bytes: usize,
    },
    /// Option 53 is missing: BOOTP, not DHCP.
    #[error("no message type")]
    NoMessageType,
}

/// What a client says, as far as this server listens.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: MacAddr,
    /// Option 50.
    pub(crate) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(crate) server: Option<Ipv4Addr>,
    /// Option 55, in the client's order.
    pub(crate) asked: Option<Vec<OptionCode>>,
    /// Option 57: the largest IP datagram that the client takes.
    pub(crate) size_max_bytes: Option<u16>,
    /// Option 61.
    pub(crate) client_identifier: Option<Vec<u8>>,
}

/// Reads the request by hand and not with `dhcproto`, whose decoder stops without a word at the first bad
/// option and has debug assertions about lengths: a tenant chooses these octets, and they shall neither
/// stop the agent nor be half understood.
pub(crate) fn parse(payload: &[u8]) -> Result<Request, MessageError> {
    let too_short = MessageError::TooShort(payload.len());
    let (fields, rest) = payload.split_first_chunk::<FIELDS_BYTES>().ok_or(too_short)?;
    let (cookie, options) = rest.split_first_chunk::<4>().ok_or(too_short)?;
    if fields[0] != BOOTREQUEST {
        return Err(MessageError::NotRequest(fields[0]));
    }
    if (fields[1], fields[2]) != ETHERNET {
        return Err(MessageError::NotEthernet { htype: fields[1], hlen: fields[2] });
    }
    if *cookie != MAGIC {
        return Err(MessageError::NoCookie);
    }
    let options = Options::parse(fields, options)?;
    Ok(Request {
        xid: u32::from_be_bytes(octets(fields, 4)),
        flags: u16::from_be_bytes(octets(fields, 10)),
        ciaddr: octets(fields, 12).into(),
        giaddr: octets(fields, 24).into(),
        chaddr: octets(fields, 28).into(),
        kind: options.fixed(OptionCode::MessageType, |[kind]| kind.into())?.ok_or(MessageError::NoMessageType)?,
        requested: options.fixed(OptionCode::RequestedIpAddress, <Ipv4Addr as From<[u8; 4]>>::from)?,
        server: options.fixed(OptionCode::ServerIdentifier, <Ipv4Addr as From<[u8; 4]>>::from)?,
        asked: options.get(OptionCode::ParameterRequestList).map(|codes| codes.iter().map(|&c| c.into()).collect()),
        size_max_bytes: options.fixed(OptionCode::MaxMessageSize, u16::from_be_bytes)?,
        client_identifier: options.client_identifier()?,
    })
}

fn octets<const N: usize>(fields: &[u8; FIELDS_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| fields[at + i])
}

/// The options that this server listens to.
struct Options(BTreeMap<OptionCode, Vec<u8>>);

impl Options {
    /// Option 52 says which of the fields hold options, too (RFC 2131 §4.1).
    fn parse(fields: &[u8; FIELDS_BYTES], area: &[u8]) -> Result<Self, MessageError> {
        let mut options = Self(BTreeMap::new());
        options.read(area)?;
        let more: &[Range<usize>] = match options.fixed(OptionCode::OptionOverload, |[fields]| fields)? {
            None => &[],
            Some(1) => &[FILE],
            Some(2) => &[SNAME],
            Some(3) => &[FILE, SNAME],
            Some(other) => return Err(MessageError::Overload(other)),
        };
        for field in more {
            options.read(&fields[field.clone()])?;
        }
        Ok(options)
    }

    fn read(&mut self, mut rest: &[u8]) -> Result<(), MessageError> {
        while let Some((&code, after_code)) = rest.split_first() {
            match code.into() {
                OptionCode::Pad => rest = after_code,
                OptionCode::End => break,
                known => {
                    let (value, after) = value(after_code).ok_or(MessageError::OptionOverlong(code))?;
                    // Parts of one option stand for their concatenation, wherever they are (RFC 3396 §5).
                    self.0.entry(known).or_default().extend(value);
                    rest = after;
                }
            }
        }
        Ok(())
    }

    fn get(&self, code: OptionCode) -> Option<&Vec<u8>> {
        self.0.get(&code)
    }

    fn fixed<const N: usize, T>(&self, code: OptionCode, read: fn([u8; N]) -> T) -> Result<Option<T>, MessageError> {
        let Some(value) = self.get(code) else { return Ok(None) };
        match value.as_slice().try_into() {
            Ok(value) => Ok(Some(read(value))),
            Err(_) => Err(MessageError::OptionLength { code: code.into(), bytes: value.len() }),
        }
    }

    /// At least 2 octets (RFC 2132 §9.14). At most what one option holds: it comes back in every answer,
    /// and two of them would leave no room in the smallest one.
    fn client_identifier(&self) -> Result<Option<Vec<u8>>, MessageError> {
        let code = OptionCode::ClientIdentifier;
        match self.get(code) {
            Some(value) if !(2..=255).contains(&value.len()) => {
                Err(MessageError::OptionLength { code: code.into(), bytes: value.len() })
            }
            value => Ok(value.cloned()),
        }
    }
}

/// Splits an option after its code into its value and what follows.
fn value(after_code: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = after_code.split_first()?;
    rest.split_at_checked(len.into())
}
