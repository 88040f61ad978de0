use std::os::fd::{AsRawFd, BorrowedFd};

use nix::Error as Errno;

use super::message::{text, u32_at};
use super::{Attributes, Message, NetlinkError, REQUESTS_AT_ONCE, Socket};

const TC_HEADER_OCTETS: usize = 20;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_CLSACT_HANDLE: u32 = 0xffff_0000;
const TC_H_INGRESS: u32 = 0xffff_fff2;
const TC_H_EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// Our filter's name, which tells it from others on the same device.
const NAME: &str = "privnet";
const HANDLE: u32 = 1;
/// Before any other filter.
const PRIORITY: u32 = 1;
/// Where the kernel puts a filter that asks for no place, so that others find theirs free.
const GUEST_PRIORITY: u32 = 0xc000;
/// "pn".
const GUEST_HANDLE: u32 = 0x706e;

impl Socket {
    /// Attaches a program to the ingress of one of our devices as a filter, or puts it in our earlier filter's place.
    pub(crate) fn set_filter(&mut self, index: u32, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        self.add_clsact(index)?;
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE;
        self.request(with_program(filter(libc::RTM_NEWTFILTER, flags, index), program))
    }

    /// The id of the program in our filter on each of these devices' ingress; none where there is no
    /// such filter, or no such device.
    pub(crate) fn filter_programs(&mut self, indexes: &[u32]) -> Result<Vec<Option<u32>>, NetlinkError> {
        let mut programs = vec![None; indexes.len()];
        for (programs, indexes) in programs.chunks_mut(REQUESTS_AT_ONCE).zip(indexes.chunks(REQUESTS_AT_ONCE)) {
            let mut refusal = Ok(());
            let requests = indexes.iter().map(|index| filter(libc::RTM_GETTFILTER, 0, *index));
            self.transact_each(requests, |number, answer| match answer {
                Ok(body) => programs[number] = read_program(body),
                Err(error) if is_no_filter(error.errno) => {}
                Err(error) => refusal = Err(error),
            })?;
            refusal?;
        }
        Ok(programs)
    }

    /// Makes the clsact queueing discipline of a device. Returns whether it was not there.
    pub(crate) fn add_clsact(&mut self, index: u32) -> Result<bool, NetlinkError> {
        match self.request(clsact(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, index)) {
            Err(error) if error.errno == Errno::EEXIST => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Removes the clsact queueing discipline of a device, unless it has filters.
    pub(crate) fn remove_idle_clsact(&mut self, index: u32) -> Result<(), NetlinkError> {
        for parent in [TC_H_INGRESS, TC_H_EGRESS] {
            if !self.filters(index, parent, |_| Some(()))?.is_empty() {
                return Ok(());
            }
        }
        match self.request(clsact(libc::RTM_DELQDISC, 0, index)) {
            Err(error) if is_no_filter(error.errno) => Ok(()),
            other => other,
        }
    }

    /// Attaches a program to the ingress of a device that is not ours as a filter after those of others, or
    /// puts it in our earlier filter's place. The clsact queueing discipline must be there.
    pub(crate) fn set_guest_filter(&mut self, index: u32, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let replaces = if self.guest_filter(index)?.is_some() { 0 } else { libc::NLM_F_EXCL };
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | replaces;
        self.request(with_program(guest_filter(libc::RTM_NEWTFILTER, flags, index), program))
    }

    /// The id of the program in our filter on the ingress of a device that is not ours.
    pub(crate) fn guest_filter(&mut self, index: u32) -> Result<Option<u32>, NetlinkError> {
        let mut program = None;
        match self.transact(guest_filter(libc::RTM_GETTFILTER, libc::NLM_F_ACK, index), &mut |_, body| {
            program = read_program(body);
        }) {
            Err(error) if is_no_filter(error.errno) => Ok(None),
            other => other.map(|()| program),
        }
    }

    /// Removes our filter from the ingress of a device that is not ours.
    pub(crate) fn remove_guest_filter(&mut self, index: u32) -> Result<(), NetlinkError> {
        match self.guest_filter(index)? {
            Some(_) => self.request(guest_filter(libc::RTM_DELTFILTER, libc::NLM_F_ACK, index)),
            None => Ok(()),
        }
    }

    /// What `read` makes of a device's filters; none if there is no such device.
    fn filters<T>(
        &mut self,
        index: u32,
        parent: u32,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let request = || Message::new(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &[&header(index, 0, parent, 0)]);
        match self.dump(request, read) {
            Err(error) if error.errno == Errno::ENODEV => Ok(Vec::new()),
            other => other,
        }
    }
}

fn clsact(kind: u16, flags: libc::c_int, index: u32) -> Message {
    let header = header(index, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0);
    Message::new(kind, flags | libc::NLM_F_ACK, &[&header]).text(TCA_KIND, "clsact")
}

/// What the kernel says when there is no such filter, no queueing discipline for it, or no device.
fn is_no_filter(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::EINVAL | Errno::ENODEV)
}

fn read_program(body: &[u8]) -> Option<u32> {
    let options = Attributes::new(body.get(TC_HEADER_OCTETS..)?).within(TCA_OPTIONS);
    let ours = options.get(TCA_BPF_NAME).map(text)? == NAME;
    ours.then(|| u32_at(options.get(TCA_BPF_ID)?, 0)).flatten()
}

fn filter(kind: u16, flags: libc::c_int, index: u32) -> Message {
    bpf_filter(kind, flags, index, HANDLE, PRIORITY)
}

fn guest_filter(kind: u16, flags: libc::c_int, index: u32) -> Message {
    bpf_filter(kind, flags, index, GUEST_HANDLE, GUEST_PRIORITY)
}

fn bpf_filter(kind: u16, flags: libc::c_int, index: u32, handle: u32, priority: u32) -> Message {
    let all_protocols = u32::from((libc::ETH_P_ALL as u16).to_be());
    let header = header(index, handle, TC_H_INGRESS, priority << 16 | all_protocols);
    Message::new(kind, flags, &[&header]).text(TCA_KIND, "bpf")
}

fn with_program(filter: Message, program: BorrowedFd<'_>) -> Message {
    filter.nested(TCA_OPTIONS, |message| {
        message
            .attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes())
            .text(TCA_BPF_NAME, NAME)
            .attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes())
    })
}

/// struct tcmsg (rtnetlink(7)).
fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TC_HEADER_OCTETS] {
    let mut octets = [0; TC_HEADER_OCTETS];
    for (at, number) in [(4, index), (8, handle), (12, parent), (16, info)] {
        octets[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    octets
}
