//! Generates the protocol's messages, client and server from its description.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure().build_transport(false).compile_protos(&["proto/sync.proto"], &["proto"])?;
    Ok(())
}
