use schemars::JsonSchema;
use serde::Serialize;

use super::limit;

/// The quotas of everything that has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "quotas")]
pub struct Quotas {
    /// By resource.
    pub quotas: Vec<Quota>,
}

/// How many there are of something, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "quota")]
pub struct Quota {
    /// Of what.
    #[schemars(extend("enum" = ["instance", "private-network"]))]
    pub resource: &'static str,
    /// How many there are.
    pub usage: usize,
    /// How many there may be; -1 is any number.
    #[schemars(range(min = -1))]
    pub limit: i64,
}

impl Quota {
    /// The quota of a resource, of which there are so many.
    pub fn new(resource: &'static str, usage: usize, quota: privnet_model::Quota) -> Self {
        Self { resource, usage, limit: limit(quota) }
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::Quota as Limit;

    use super::*;

    #[test]
    fn a_quota_shows_usage_and_limit() {
        let network = |quota| Quota::new("private-network", 3, quota);
        let quotas = Quotas { quotas: vec![network(Limit::AtMost(32)), network(Limit::Unlimited)] };
        assert_eq!(
            serde_json::to_string(&quotas).expect("serializes"),
            concat!(
                r#"{"quotas":[{"resource":"private-network","usage":3,"limit":32},"#,
                r#"{"resource":"private-network","usage":3,"limit":-1}]}"#
            )
        );
    }
}
