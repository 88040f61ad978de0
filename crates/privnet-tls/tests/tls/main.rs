//! Connections, refusals and certificates, among ourselves and with other programs.

mod certificates;
mod common;
mod key_updates;
mod other_programs;
mod refusals;
mod round_trips;
mod sessions;
