use anyhow::Context;

use crate::client::{Client, list, text};
use crate::exit::Failure;
use crate::identity;
use crate::output::print_line;
use crate::settings::{BaseUrl, Settings};
use crate::tls;

/// Where programs of these kinds look for authorities: Go and OpenSSL, Python's requests, Node.
const CA_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// Prints the variables of Exoscale's clients; the server says at which URL and in which zone it is. Where its
/// certificate is not of an authority that the system trusts, there are those by which clients trust it.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let credentials = identity::for_official_clients(settings)?;
    let zones = Client::of(settings)?.get("/v2/zone")?;
    let zone = list(&zones, "zones").first().context("the server has no zone")?;
    let lines = [
        ("EXOSCALE_API_ENDPOINT", text(zone, "api-endpoint")),
        ("EXOSCALE_ZONE", text(zone, "name")),
        ("EXOSCALE_API_KEY", &credentials.key),
        ("EXOSCALE_API_SECRET", &credentials.secret),
    ];
    let BaseUrl(base) = settings.require("api-url")?;
    let ca_file = tls::ca_file(settings, &base)?.map(|file| file.display().to_string());
    let trust = ca_file.iter().flat_map(|file| CA_VARIABLES.map(|name| (name, file.as_str())));
    let export = |(name, value)| format!("export {name}={}", quoted(value));
    print_line(&lines.into_iter().chain(trust).map(export).collect::<Vec<_>>().join("\n"))
}

/// As a POSIX shell reads it back.
fn quoted(value: &str) -> String {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&octet);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_not_take_as_it_is_is_quoted() {
        assert_eq!(quoted("http://127.0.0.1:8080/v2"), "http://127.0.0.1:8080/v2");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
        assert_eq!(quoted(""), "''");
    }
}
