//! Ethernet beside IP: tags of the instances' own, other protocols, and frames without an ethertype.

use anyhow::{Result, ensure};

use super::{Segment, on_segments};
use crate::support::{BROADCAST, OVERLAY_MTU_BYTES};

/// For experiments (IEEE 802 local experimental ethertype 1).
const EXPERIMENT: u16 = 0x88b5;
/// The ethertypes of tags (IEEE 802.1Q §9.5).
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
/// All level 1 intermediate systems of IS-IS, which speaks LLC (ISO/IEC 10589).
const ISIS_SYSTEMS: &str = "01:80:c2:00:00:14";

/// VLANs are the instances' own matter, also stacked ones and packets of the whole MTU in them.
#[test]
fn tagged_frames_pass_with_their_tags() {
    on_segments(|lab, segment| {
        let Segment { a, b, c, .. } = segment;
        let filter = format!("ether src {} and vlan", a.mac);
        let captures = [b, c].map(|guest| lab.capture(&guest.instance.namespace, &guest.device, &filter));
        let captures = captures.into_iter().collect::<Result<Vec<_>>>()?;
        let (small, whole) = (vec![7; 46], vec![7; OVERLAY_MTU_BYTES as usize]);
        let frames = [
            (CUSTOMER_TAG, tagged(5, EXPERIMENT, &small), "length 64: vlan 5,"),
            (CUSTOMER_TAG, tagged(6, EXPERIMENT, &whole), "length 1468: vlan 6,"),
            (SERVICE_TAG, tagged(7, CUSTOMER_TAG, &tagged(8, EXPERIMENT, &small)), "length 68: vlan 7,"),
        ];
        for (ethertype, payload, _) in &frames {
            for to in [&b.mac, &c.mac, BROADCAST] {
                a.send(to, *ethertype, payload)?;
            }
        }
        for (guest, capture) in [b, c].into_iter().zip(captures) {
            // What is sent last comes last.
            capture.wait_for_frame(&format!("{BROADCAST}, ethertype 802.1Q-QinQ"))?;
            let seen = capture.stop()?;
            for to in [&guest.mac, BROADCAST] {
                let shows = |line: &&String, what: &str| line.contains(&format!("> {to}")) && line.contains(what);
                for (_, _, what) in &frames {
                    ensure!(seen.iter().filter(|line| shows(line, what)).count() == 1, "{to}, {what}: {seen:#?}");
                }
                ensure!(seen.iter().any(|line| shows(&line, "vlan 8,")), "the tag within is gone: {seen:#?}");
            }
            ensure!(seen.len() == 6, "{} sees {seen:#?}", guest.instance.name);
        }
        Ok(())
    });
}

#[test]
fn other_protocols_pass_whoever_they_are_for() {
    on_segments(|lab, segment| {
        let Segment { a, b, c, .. } = segment;
        let filter = format!("ether src {} and (ether proto {EXPERIMENT:#x} or llc)", a.mac);
        let captures = [b, c].map(|guest| lab.capture(&guest.instance.namespace, &guest.device, &filter));
        let captures = captures.into_iter().collect::<Result<Vec<_>>>()?;
        let llc = [&[0xfe, 0xfe, 0x03][..], &[0x83; 43]].concat();
        for to in [&b.mac, &c.mac, BROADCAST] {
            a.send(to, EXPERIMENT, &[7; 46])?;
            // Its length stands where others have an ethertype.
            a.send(to, llc.len() as u16, &llc)?;
        }
        a.send(ISIS_SYSTEMS, llc.len() as u16, &llc)?;
        for (guest, capture) in [b, c].into_iter().zip(captures) {
            // It is sent last, so it comes last.
            capture.wait_for_frame(ISIS_SYSTEMS)?;
            let seen = capture.stop()?;
            let count = |to: &str| seen.iter().filter(|line| line.contains(&format!("> {to}"))).count();
            let counts = [&guest.mac, BROADCAST, ISIS_SYSTEMS].map(count);
            ensure!(counts == [2, 2, 1] && seen.len() == 5, "{} sees {seen:#?}", guest.instance.name);
        }
        Ok(())
    });
}

/// What stands behind a tag's ethertype: its VLAN, and the payload with the ethertype of its own.
fn tagged(id: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &ethertype.to_be_bytes(), payload].concat()
}
