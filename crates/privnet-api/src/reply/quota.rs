use schemars::JsonSchema;
use serde::Serialize;

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
    /// How many there may be: always -1, which is any number.
    pub limit: i64,
}

impl Quota {
    /// Without a limit.
    pub fn unlimited(resource: &'static str, usage: usize) -> Self {
        Self { resource, usage, limit: -1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_shows_usage_and_limit() {
        let quotas = Quotas { quotas: vec![Quota::unlimited("private-network", 3)] };
        assert_eq!(
            serde_json::to_string(&quotas).expect("serializes"),
            r#"{"quotas":[{"resource":"private-network","usage":3,"limit":-1}]}"#
        );
    }
}
