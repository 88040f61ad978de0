use schemars::JsonSchema;
use serde::Serialize;

/// All zones that this API knows: its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "zones")]
pub struct Zones {
    /// One.
    pub zones: Vec<Zone>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "zone")]
pub struct Zone {
    /// What clients choose it by.
    pub name: String,
    /// The URL of its API with `/v2`, to which clients send everything else.
    #[schemars(extend("format" = "uri"))]
    pub api_endpoint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_zone_and_its_endpoint() {
        let zone = Zone { name: "ch-gva-2".into(), api_endpoint: "http://127.0.0.1:8080/v2".into() };
        assert_eq!(
            serde_json::to_string(&Zones { zones: vec![zone] }).expect("serializes"),
            r#"{"zones":[{"name":"ch-gva-2","api-endpoint":"http://127.0.0.1:8080/v2"}]}"#
        );
    }
}
