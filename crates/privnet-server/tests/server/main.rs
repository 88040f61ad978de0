//! A running server on loopback, its clients, and agents that do what the test says.

mod audit;
mod authentication;
mod bad_input;
mod catalogue;
mod clients;
mod conformance;
mod contract;
mod document;
mod http;
mod instances;
mod joining;
mod keys;
mod limits;
mod moves;
mod operations;
mod organizations;
mod properties;
mod replays;
mod restart;
mod retries;
mod secrecy;
mod store_failure;
mod support;
mod sync;
mod terraform;
mod transport;
