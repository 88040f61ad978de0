use privnet_model::{InstanceTypeId, TemplateId};
use schemars::JsonSchema;
use serde::Serialize;

use super::network::as_text;

/// All instance types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance-types")]
pub struct InstanceTypes<'a> {
    /// In the order of the catalogue.
    pub instance_types: Vec<InstanceType<'a>>,
}

/// How large an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance-type")]
pub struct InstanceType<'a> {
    /// Given in the catalogue.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: InstanceTypeId,
    /// With the family it makes the name, such as `standard.medium`.
    pub size: &'a str,
    /// See there.
    pub family: &'a str,
    /// How many.
    pub cpus: u32,
    /// In octets.
    pub memory: u64,
    /// Whether instances can be created with it.
    pub authorized: bool,
}

/// The templates that instances can be created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "templates")]
pub struct Templates<'a> {
    /// In the order of the catalogue.
    pub templates: Vec<Template<'a>>,
}

/// What an instance is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "template")]
pub struct Template<'a> {
    /// Given in the catalogue.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: TemplateId,
    /// For people.
    pub name: &'a str,
    /// For people.
    pub description: &'a str,
    /// Every organization's.
    #[schemars(extend("enum" = ["public"]))]
    pub visibility: &'static str,
    /// Who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub default_user: Option<&'a str>,
    /// How large its disk is, in octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub size: Option<u64>,
    /// How it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["legacy", "uefi"]))]
    pub boot_mode: Option<&'static str>,
}

/// An instance's type. Clients look it up by its id, and cannot do without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "instance-type-ref")]
pub struct InstanceTypeRef {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub(super) id: InstanceTypeId,
}

/// An instance's template. Clients look it up by its id, and cannot do without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "template-ref")]
pub struct TemplateRef {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub(super) id: TemplateId,
}

impl InstanceType<'_> {
    /// One that instances have and the catalogue has no more: what clients cannot do without, in words that all of
    /// them know.
    pub const fn gone(id: InstanceTypeId) -> Self {
        Self { id, size: "micro", family: "standard", cpus: 1, memory: 1 << 29, authorized: false }
    }
}

impl Template<'_> {
    /// One that instances have and the catalogue has no more.
    pub const fn gone(id: TemplateId) -> Self {
        Self {
            id,
            name: "unknown",
            description: "A template that the catalogue has no more",
            visibility: "public",
            default_user: None,
            size: None,
            boot_mode: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_type_shows_what_clients_make_its_name_and_size_of() {
        let id = InstanceTypeId::built_in(4);
        let medium =
            InstanceType { id, size: "medium", family: "standard", cpus: 2, memory: 4 << 30, authorized: true };
        assert_eq!(
            serde_json::to_string(&medium).expect("serializes"),
            concat!(
                r#"{"id":"70726976-6e65-4000-8000-000000000004","size":"medium","family":"standard","#,
                r#""cpus":2,"memory":4294967296,"authorized":true}"#
            )
        );
    }

    #[test]
    fn a_template_shows_what_the_catalogue_says_and_nothing_else() {
        let id = TemplateId::WORKLOAD;
        let plain = Template { name: "workload", description: "d", ..Template::gone(id) };
        let json = r#"{"id":"70726976-6e65-4000-8000-000000000065","name":"workload","description":"d","visibility":"public"}"#;
        assert_eq!(serde_json::to_string(&plain).expect("serializes"), json);
        let whole = Template { default_user: Some("debian"), size: Some(10), boot_mode: Some("uefi"), ..plain };
        let more = r#","default-user":"debian","size":10,"boot-mode":"uefi"}"#;
        assert!(serde_json::to_string(&whole).expect("serializes").ends_with(more));
    }
}
