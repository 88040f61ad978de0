# What people and CI run. `make` alone says what there is.

# To build: a C compiler and linker, clang for the eBPF programs, kernel headers, protoc, libcrypto.
BUILD_PACKAGES := gcc libc6-dev clang libbpf-dev linux-libc-dev protobuf-compiler libssl-dev
# To run labs: namespaces, DHCP clients and tools that look at frames.
LAB_PACKAGES := iproute2 iputils-ping udhcpc isc-dhcp-client systemd tcpdump iperf3
# To test: other programs that speak TLS. wget does so by GnuTLS.
TEST_PACKAGES := openssl curl wget python3

.DEFAULT_GOAL := help
.PHONY: help demo test bench chaos fuzz deps fmt lint doc root

help:
	@echo "make demo    show the main job on two hosts made of network namespaces (root)"
	@echo "make test    run the whole suite (root)"
	@echo "make bench   measure, print tables, write target/bench.json and docs/benchmarks.md (root, some minutes)"
	@echo "make chaos   a lab in which everything goes wrong, checked after each step (root);"
	@echo "             make chaos SEED=7 MINUTES=5 HOSTS=3: the same seed is the same plan"
	@echo "make fuzz    odd frames for the eBPF programs, against a model of what may leave where (root);"
	@echo "             make fuzz SEED=7 MINUTES=5: the same seed is the same frames"
	@echo "make deps    install the system packages that are missing"
	@echo "make fmt     format the code"
	@echo "make lint    check format, clippy and the documentation"
	@echo "make doc     build the documentation of all crates"

demo: root deps
	cargo build --quiet --package privnet
	@cargo run --quiet --package privnet -- lab demo

test: root deps
	cargo test --quiet --workspace --doc
	@if cargo nextest --version >/dev/null 2>&1; then \
		echo "cargo nextest run --workspace"; cargo nextest run --workspace; \
	else \
		echo "cargo test --workspace"; cargo test --workspace --all-targets; \
	fi

bench: root deps
	cargo build --release --package privnet
	cargo run --release --package privnet-lab --bin privnet-bench

# Without a seed they take a random one and say which.
MINUTES := 5
HOSTS := 3
chaos: root deps
	cargo build --quiet --package privnet --package privnet-lab
	@cargo run --quiet --package privnet-lab --bin privnet-chaos -- \
		$(if $(SEED),--seed $(SEED)) --minutes $(MINUTES) --hosts $(HOSTS)

fuzz: root deps
	@SEED=$(SEED) scripts/fuzz $(MINUTES)

deps:
	@scripts/install-packages $(BUILD_PACKAGES) $(LAB_PACKAGES) $(TEST_PACKAGES)

fmt:
	cargo fmt

lint: deps
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

doc: deps
	cargo doc --workspace --no-deps

# Network namespaces and eBPF need root, and so do files of an earlier run as root in target/.
root:
	@test "$$(id -u)" = 0 || { echo "This needs root (network namespaces, eBPF): run it as root." >&2; exit 1; }
