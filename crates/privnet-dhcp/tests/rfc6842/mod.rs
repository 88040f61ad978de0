//! RFC 6842: Client Identifier Option in DHCP Server Replies.

mod section_3;
