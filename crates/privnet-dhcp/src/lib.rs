//! Pure DHCPv4 server: request frame and lease facts in, reply frame or a reason for silence out.
