//! Compiles the eBPF programs with clang, and once more for the fuzzer, which watches what they do.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [(&str, &str); 2] =
    [("bpf/privnet.bpf.c", "privnet.bpf.o"), ("bpf/tests/witnessed.bpf.c", "witnessed.bpf.o")];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    let objects = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (source, object) in SOURCES {
        if let Err(problem) = compile(source, &objects.join(object)) {
            println!("cargo::error={problem}");
            std::process::exit(1);
        }
    }
}

fn compile(source: &str, object: &Path) -> Result<(), String> {
    let mut clang = Command::new("clang");
    // The third instruction set (Linux 5.1) is what every kernel that we run on knows.
    clang.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra"]);
    if let Some(headers) = multiarch_headers() {
        clang.arg("-I").arg(headers);
    }
    let output = clang.arg("-c").arg(source).arg("-o").arg(object).output().map_err(|error| {
        format!("cannot run clang, which compiles the eBPF programs: {error}; on Debian: apt install clang")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        said.lines().for_each(|line| println!("cargo::warning={line}"));
        return Ok(());
    }
    let advice =
        if said.contains("file not found") { "; on Debian: apt install libbpf-dev linux-libc-dev" } else { "" };
    Err(format!("clang cannot compile {source}{advice}: {}", said.replace('\n', " | ")))
}

/// Where Debian keeps the kernel's asm headers, which clang does not look into for the BPF target.
fn multiarch_headers() -> Option<PathBuf> {
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let headers = PathBuf::from(format!("/usr/include/{architecture}-linux-gnu"));
    headers.is_dir().then_some(headers)
}
