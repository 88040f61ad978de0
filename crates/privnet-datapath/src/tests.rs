//! Against the real kernel, in network namespaces of the tests' own.

mod ends;
mod frames;
mod fuzz;
mod lab;
mod lanes;
mod rules;
mod state;
mod traffic;
mod underlay;
mod upgrade;
