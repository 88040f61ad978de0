//! A running server on loopback, its clients, and agents that do what the test says.

mod audit;
mod authentication;
mod bad_input;
mod clients;
mod contract;
mod document;
mod http;
mod instances;
mod keys;
mod limits;
mod moves;
mod operations;
mod organizations;
mod properties;
mod restart;
mod retries;
mod store_failure;
mod support;
mod sync;
mod transport;
