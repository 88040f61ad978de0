use super::*;

mod header;
mod properties;
mod vectors;

const NOW: Timestamp = Timestamp::from_unix_ms(1_790_000_000_000);

fn key(secret: &str) -> SigningKey {
    SigningKey::new(secret.as_bytes()).expect("a key")
}

fn get(path_and_query: &str) -> Signable<'_> {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    Signable { method: "GET", path, query, body: b"" }
}

fn is_by(header: &str, key: &SigningKey, request: &Signable<'_>) -> bool {
    Authorization::parse(header.as_bytes()).expect("a header").is_by(key, request).expect("computed")
}
