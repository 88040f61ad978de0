use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{Output, table};
use crate::settings::{SETTINGS, Setting, Settings};

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let json: serde_json::Map<_, _> = SETTINGS.iter().map(|setting| entry(setting, settings)).collect();
    Output::of(settings)?.print(&Value::Object(json), || {
        let row = |setting: &Setting| {
            let value = settings.get(setting.name);
            let text = value.text.clone().unwrap_or_else(|| format!("({})", setting.default_text()));
            [setting.name.to_owned(), text, value.source.to_string()]
        };
        table(["SETTING", "VALUE", "FROM"], SETTINGS.iter().map(row))
    })
}

fn entry(setting: &Setting, settings: &Settings) -> (String, Value) {
    let value = settings.get(setting.name);
    (setting.name.to_owned(), json!({"value": value.text, "from": value.source.to_string()}))
}
