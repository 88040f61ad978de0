//! The whole of privnet, driven from outside as its users drive it, on labs of network namespaces.
//!
//! [`support`] starts labs and puts guests into networks; `privnet_lab::invariants` compares what the API
//! says with what is in the kernel of each host.

mod audit;
mod catalogue;
mod chaos;
mod cli;
mod cni;
mod concurrency;
mod configured;
mod crashes;
mod dhcp;
mod hostile;
mod hosts;
mod instances;
mod joining;
mod labs;
mod lanes;
mod lossless;
mod moves;
mod networks;
mod repair;
mod segment;
mod stopping;
mod stream;
mod support;
mod tls;
mod up;
mod virtual_machines;
