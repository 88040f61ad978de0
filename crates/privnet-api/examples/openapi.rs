//! Prints the OpenAPI document: `cargo run -p privnet-api --example openapi > crates/privnet-api/openapi.json`.

fn main() {
    println!("{:#}", privnet_api::document());
}
