//! Logs: events on standard error, as lines for people or as JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::exit::Failure;
use crate::settings::Settings;

/// From here on events go to standard error.
///
/// # Errors
/// The `log` or `log-format` setting breaks its rule.
pub(crate) fn start(settings: &Settings) -> Result<(), Failure> {
    let filter: EnvFilter = settings.require("log")?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SystemTime)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match settings.require::<String>("log-format")?.as_str() {
        "text" => events.init(),
        "json" => events.json().flatten_event(true).init(),
        _ => return Err(settings.refuse("log-format", "text or json is expected")),
    }
    Ok(())
}
