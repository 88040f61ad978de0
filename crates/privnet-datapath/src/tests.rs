//! Against the real kernel, in network namespaces of the tests' own.

mod lab;
mod traffic;
