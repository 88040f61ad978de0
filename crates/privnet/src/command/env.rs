use anyhow::Context;

use crate::client::{Client, list, text};
use crate::exit::Failure;
use crate::identity;
use crate::output::print_line;
use crate::settings::Settings;

/// Prints the variables of Exoscale's clients; the server says at which URL and in which zone it is.
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
    print_line(&lines.map(|(name, value)| format!("export {name}={}", quoted(value))).join("\n"))
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
