//! RFC 3397: DHCP Domain Search Option.

mod section_2;

pub use section_2::read;
