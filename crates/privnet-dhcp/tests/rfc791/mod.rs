//! RFC 791: Internet Protocol.

mod section_3_1;
