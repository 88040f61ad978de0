//! RFC 2132: DHCP Options and BOOTP Vendor Extensions.

mod section_3;
mod section_5_1;
mod section_9;
mod section_9_10;
mod section_9_8;
