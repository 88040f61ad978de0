//! An agent with a kernel in memory, against a server that says what the test says.

mod generations;
mod host;
mod own_copy;
mod removals;
mod repairs;
mod reports;
mod server;
mod simulation;
mod upgrades;
mod values;
