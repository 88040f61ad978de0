//! What commands print: tables for people, the API's JSON for programs.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::exit::Failure;
use crate::settings::Settings;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// The API's JSON.
    Json,
}

impl Output {
    /// The `output` setting.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Failure> {
        match settings.require::<String>("output")?.as_str() {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err(settings.refuse("output", "table or json is expected")),
        }
    }

    /// Prints one of the two. An answer without content is no JSON, and nothing is printed for it.
    pub(crate) fn print(self, json: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
        match self {
            Self::Table => print_line(&table()),
            Self::Json if json.is_null() => Ok(()),
            Self::Json => print_line(&serde_json::to_string_pretty(json).context("cannot write JSON")?),
        }
    }
}

/// Prints to standard output. A reader that has left, such as `head`, is no failure.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::from(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

/// A table with a header.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    lines(&table)
}

/// A property per line; those without a value are left out.
pub(crate) fn properties<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| [name.into(), value]));
    lines(&table)
}

/// The table without blanks around it.
fn lines(table: &Table) -> String {
    let lines = table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// A value as people read it: texts bare, lists joined.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
