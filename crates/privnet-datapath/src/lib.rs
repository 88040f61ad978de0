//! The only door to the kernel: eBPF programs and maps, links, network namespaces.
