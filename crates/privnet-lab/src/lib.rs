//! Several hosts on one machine, made of network namespaces: for the demo, end-to-end tests and benchmarks.
