//! The per-host loop: follow the server, plan, apply, answer DHCP, report.
