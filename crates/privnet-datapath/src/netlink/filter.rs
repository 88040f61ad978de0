use std::os::fd::{AsRawFd, BorrowedFd};

use nix::Error as Errno;

use super::message::{text, u32_at};
use super::{Attributes, Message, NetlinkError, Socket};

const TC_HEADER_OCTETS: usize = 20;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_CLSACT_HANDLE: u32 = 0xffff_0000;
const TC_H_INGRESS: u32 = 0xffff_fff2;
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
/// The kernel counts a page or two for each answer, and by default 208 KiB for a socket.
const REQUESTS_AT_ONCE: usize = 24;

impl Socket {
    /// Attaches a program to a device's ingress as a filter, or puts it in our earlier filter's place.
    pub(crate) fn set_filter(&mut self, index: u32, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        self.add_clsact(index)?;
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE;
        let request = filter(libc::RTM_NEWTFILTER, flags, index).nested(TCA_OPTIONS, |message| {
            message
                .attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes())
                .text(TCA_BPF_NAME, NAME)
                .attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes())
        });
        self.request(request)
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
                Err(error) if matches!(error.errno, Errno::ENOENT | Errno::EINVAL | Errno::ENODEV) => {}
                Err(error) => refusal = Err(error),
            })?;
            refusal?;
        }
        Ok(programs)
    }

    fn add_clsact(&mut self, index: u32) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let header = header(index, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0);
        match self.request(Message::new(libc::RTM_NEWQDISC, flags, &[&header]).text(TCA_KIND, "clsact")) {
            Err(error) if error.errno == Errno::EEXIST => Ok(()),
            other => other,
        }
    }
}

fn read_program(body: &[u8]) -> Option<u32> {
    let options = Attributes::new(body.get(TC_HEADER_OCTETS..)?).within(TCA_OPTIONS);
    let ours = options.get(TCA_BPF_NAME).map(text)? == NAME;
    ours.then(|| u32_at(options.get(TCA_BPF_ID)?, 0)).flatten()
}

fn filter(kind: u16, flags: libc::c_int, index: u32) -> Message {
    let all_protocols = u32::from((libc::ETH_P_ALL as u16).to_be());
    let header = header(index, HANDLE, TC_H_INGRESS, PRIORITY << 16 | all_protocols);
    Message::new(kind, flags, &[&header]).text(TCA_KIND, "bpf")
}

/// struct tcmsg (rtnetlink(7)).
fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TC_HEADER_OCTETS] {
    let mut octets = [0; TC_HEADER_OCTETS];
    for (at, number) in [(4, index), (8, handle), (12, parent), (16, info)] {
        octets[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    octets
}
