//! Which of the fields of an answer hold which options (RFC 2131 §4.1, "option overload").

use dhcproto::v4::OptionCode;

use crate::request::{FILE, SNAME};

/// Options as they stand in the fields of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// At the end of `options`, with option 52 where other fields hold any; without the end option.
    pub(crate) options: Vec<u8>,
    /// In `file`, with the end option; empty if it holds none.
    pub(crate) file: Vec<u8>,
    /// In `sname`, likewise.
    pub(crate) sname: Vec<u8>,
}

/// Option 52: its code, its length and its value.
const OVERLOAD_BYTES: usize = 3;

/// Option 52 of a message whose `file`, and one whose `sname` holds options (RFC 2132 §9.3); both is their sum.
const IN_FILE: u8 = 1;
const IN_SNAME: u8 = 2;

/// Places as many of the options as there is room for, each where it fits first, in their order. `file` and `sname`
/// are used only where that makes room for more.
pub(crate) fn place(options: &[Vec<u8>], free_bytes: usize) -> Placed {
    let ([plain, ..], count) = fill(options, [free_bytes, 0, 0]);
    let plain = Placed { options: plain, ..Placed::default() };
    let Some(free_bytes) = free_bytes.checked_sub(OVERLOAD_BYTES) else { return plain };
    let (overloaded, overloaded_count) = fill(options, [free_bytes, FILE.len() - 1, SNAME.len() - 1]);
    if overloaded_count > count { with_overload(overloaded) } else { plain }
}

/// Fills areas of these sizes, and counts the options that found a place.
fn fill(options: &[Vec<u8>], sizes: [usize; 3]) -> ([Vec<u8>; 3], usize) {
    let mut areas = [const { Vec::new() }; 3];
    let mut count = 0;
    for option in options {
        let mut with_sizes = areas.iter_mut().zip(sizes);
        if let Some((area, _)) = with_sizes.find(|(area, size)| area.len() + option.len() <= *size) {
            area.extend_from_slice(option);
            count += 1;
        }
    }
    (areas, count)
}

fn with_overload([options, file, sname]: [Vec<u8>; 3]) -> Placed {
    let in_file = if file.is_empty() { 0 } else { IN_FILE };
    let in_sname = if sname.is_empty() { 0 } else { IN_SNAME };
    let overload = [OptionCode::OptionOverload.into(), 1, in_file | in_sname];
    Placed { options: [&overload[..], &options].concat(), file: ended(file), sname: ended(sname) }
}

fn ended(mut options: Vec<u8>) -> Vec<u8> {
    if !options.is_empty() {
        options.push(OptionCode::End.into());
    }
    options
}
