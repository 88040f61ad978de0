use std::io;

use super::message::u32_at;
use super::{Attributes, Message, NetlinkError, Socket};

const XFRM_MSG_GETSPDINFO: u16 = 0x25;
const XFRM_MSG_GETDEFAULT: u16 = 0x28;
const SPD_HEADER_OCTETS: usize = 4;
const XFRMA_SPD_INFO: u16 = 1;
const XFRM_USERPOLICY_BLOCK: u8 = 1;

/// A host's IPsec policies (xfrm).
#[derive(Debug)]
pub(crate) struct Policies(Option<Socket>);

impl Policies {
    /// Those of the thread's network namespace. A kernel without IPsec has none.
    pub(crate) fn open() -> io::Result<Self> {
        match Socket::of(libc::NETLINK_XFRM) {
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(Self(None)),
            other => Ok(Self(Some(other?))),
        }
    }

    /// Whether there are any for what the host sends or what comes for it, but for those of single sockets.
    pub(crate) fn are_there(&mut self) -> Result<bool, NetlinkError> {
        let Some(socket) = &mut self.0 else { return Ok(false) };
        let mut are_there = false;
        let counts = Message::new(XFRM_MSG_GETSPDINFO, libc::NLM_F_ACK, &[&[0; SPD_HEADER_OCTETS]]);
        socket.transact(counts, &mut |_, body| are_there |= has_any(body))?;
        // struct xfrm_userpolicy_default.
        let without_a_policy = Message::new(XFRM_MSG_GETDEFAULT, libc::NLM_F_ACK, &[&[0; 3]]);
        socket.transact(without_a_policy, &mut |_, body| are_there |= blocks(body))?;
        Ok(are_there)
    }
}

/// struct xfrmu_spdinfo: numbers of policies, first of those for what comes in, then of those for what goes out.
fn has_any(body: &[u8]) -> bool {
    let attributes = Attributes::new(body.get(SPD_HEADER_OCTETS..).unwrap_or_default());
    let counts = attributes.get(XFRMA_SPD_INFO).unwrap_or_default();
    [0, 4].into_iter().any(|at| u32_at(counts, at).is_some_and(|count| count > 0))
}

/// Whether packets that no policy is for are dropped: on their way in, forwarded, out.
fn blocks(body: &[u8]) -> bool {
    matches!(body, [XFRM_USERPOLICY_BLOCK, _, _, ..] | [_, _, XFRM_USERPOLICY_BLOCK, ..])
}
