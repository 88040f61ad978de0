use privnet_model::{InstanceTypeId, TemplateId};
use schemars::JsonSchema;
use serde::Serialize;

use super::network::as_text;

const GIB: u64 = 1 << 30;

/// What an instance can be as large as. Clients ask for it on their way to private networks.
static INSTANCE_TYPES: [InstanceType; 7] = [
    InstanceType::standard(1, "micro", 1, GIB / 2),
    InstanceType::standard(2, "tiny", 1, GIB),
    InstanceType::standard(3, "small", 2, 2 * GIB),
    InstanceType::standard(4, "medium", 2, 4 * GIB),
    InstanceType::standard(5, "large", 4, 8 * GIB),
    InstanceType::standard(6, "extra-large", 4, 16 * GIB),
    InstanceType::standard(7, "huge", 8, 32 * GIB),
];

/// What an instance can be made of.
static TEMPLATES: [Template; 1] = [Template {
    id: TemplateId::WORKLOAD,
    name: "workload",
    description: "A workload that exists on its host, which privnet has not made",
    visibility: "public",
}];

/// All instance types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance-types")]
pub struct InstanceTypes {
    /// From the smallest to the largest.
    #[schemars(with = "Vec<InstanceType>")]
    pub instance_types: &'static [InstanceType],
}

/// How large an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance-type")]
pub struct InstanceType {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: InstanceTypeId,
    /// With the family it makes the name, such as `standard.medium`.
    size: &'static str,
    family: &'static str,
    cpus: u32,
    /// In octets.
    memory: u64,
    /// Always true.
    authorized: bool,
}

/// All templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "templates")]
pub struct Templates {
    /// One.
    #[schemars(with = "Vec<Template>")]
    pub templates: &'static [Template],
}

/// What an instance is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "template")]
pub struct Template {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: TemplateId,
    name: &'static str,
    description: &'static str,
    #[schemars(extend("enum" = ["public"]))]
    visibility: &'static str,
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

impl InstanceTypes {
    /// The built-in ones.
    pub fn built_in() -> Self {
        Self { instance_types: &INSTANCE_TYPES }
    }
}

impl InstanceType {
    const fn standard(number: u8, size: &'static str, cpus: u32, memory: u64) -> Self {
        let id = InstanceTypeId::built_in(number);
        Self { id, size, family: "standard", cpus, memory, authorized: true }
    }

    /// The built-in one with this id.
    pub fn with_id(id: InstanceTypeId) -> Option<&'static Self> {
        INSTANCE_TYPES.iter().find(|one| one.id == id)
    }
}

impl Templates {
    /// The built-in ones.
    pub fn built_in() -> Self {
        Self { templates: &TEMPLATES }
    }
}

impl Template {
    /// The built-in one with this id.
    pub fn with_id(id: TemplateId) -> Option<&'static Self> {
        TEMPLATES.iter().find(|one| one.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_instance_type_shows_what_clients_make_its_name_and_size_of() {
        assert_eq!(
            serde_json::to_string(&INSTANCE_TYPES[3]).expect("serializes"),
            concat!(
                r#"{"id":"70726976-6e65-4000-8000-000000000004","size":"medium","family":"standard","#,
                r#""cpus":2,"memory":4294967296,"authorized":true}"#
            )
        );
    }

    #[test]
    fn each_of_the_catalogue_is_found_by_its_id() {
        assert_eq!(INSTANCE_TYPES.iter().map(|one| one.id).collect::<BTreeSet<_>>().len(), INSTANCE_TYPES.len());
        assert!(INSTANCE_TYPES.iter().all(|one| InstanceType::with_id(one.id) == Some(one)));
        assert!(TEMPLATES.iter().all(|one| Template::with_id(one.id) == Some(one)));
        assert_eq!((InstanceType::with_id(InstanceTypeId::MIN), Template::with_id(TemplateId::MIN)), (None, None));
    }

    #[test]
    fn what_a_registered_workload_refers_to_is_in_the_catalogue() {
        assert!(InstanceType::with_id(InstanceTypeId::UNKNOWN).is_some());
        assert!(Template::with_id(TemplateId::WORKLOAD).is_some());
    }
}
