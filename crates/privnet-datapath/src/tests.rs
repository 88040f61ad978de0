//! Against the real kernel, in network namespaces of the tests' own.

mod ends;
mod frames;
mod fuzz;
mod lab;
mod lanes;
mod monitor;
mod rules;
mod state;
mod taps;
mod traffic;
mod underlay;
mod upgrade;
