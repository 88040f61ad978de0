//! What instances can be as large as and made of: a file of the operator's, or what is built in.
//!
//! An instance keeps the ids of its type and template. One that the catalogue has no more is still found as
//! something that clients can show, by [`Catalogue::type_with_id`] and [`Catalogue::template_with_id`], as they look
//! both up for each instance.

mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use privnet_api::reply;
use privnet_model::zone::Zone;
use privnet_model::{Description, Driver, InstanceProperties, InstanceTypeId, Name, TemplateId};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use tracing::warn;

pub use self::served::ServedCatalogue;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// The instance types and templates of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    types: Vec<Type>,
    templates: Vec<Template>,
}

/// Why a file is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is not TOML, has a key that nobody knows, or a value that breaks its rule. The text has the line.
    #[error(transparent)]
    Parse(#[from] toml::de::Error),
    /// What each entry must have for itself, two of them have.
    #[error("line {line}: {what} is there already; each entry needs its own")]
    Twice {
        /// Of the second one, from 1.
        line: usize,
        /// What they share.
        what: String,
    },
    /// There is nothing to create an instance with.
    #[error("there is no [[{0}]] in it; copy one from what `privnet catalogue` prints")]
    Empty(&'static str),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    instance_type: Vec<Type>,
    #[serde(default)]
    template: Vec<Template>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Type {
    id: Spanned<Text<InstanceTypeId>>,
    #[serde(deserialize_with = "word")]
    family: String,
    #[serde(deserialize_with = "word")]
    size: String,
    #[serde(deserialize_with = "cpus")]
    cpus: u32,
    #[serde(deserialize_with = "memory_mib")]
    memory_mib: u32,
    #[serde(default = "yes")]
    offered: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Template {
    id: Spanned<Text<TemplateId>>,
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(default, deserialize_with = "description")]
    description: String,
    driver: DriverName,
    #[serde(default, deserialize_with = "optional_word")]
    default_user: Option<String>,
    #[serde(default, deserialize_with = "size_gib")]
    size_gib: Option<u32>,
    boot_mode: Option<BootMode>,
    #[serde(default = "yes")]
    offered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DriverName {
    Netns,
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BootMode {
    Legacy,
    Uefi,
}

/// A value that is written as a text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Text<T>(T);

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

const fn yes() -> bool {
    true
}

/// A part of a name that clients take apart at dots.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match (1..=64).contains(&text.len()) && text.chars().all(is_good) {
        true => Ok(text),
        false => Err(serde::de::Error::custom("1 to 64 small letters, digits, - and _ are expected")),
    }
}

fn optional_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    word(deserializer).map(Some)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Name::try_from(text.as_str()).map_err(serde::de::Error::custom).map(|name| name.as_str().to_owned())
}

fn description<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Description::try_from(text.as_str()).map_err(serde::de::Error::custom).map(|_| text)
}

fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    number(deserializer, 1..=1024)
}

fn memory_mib<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    number(deserializer, 1..=16_777_216)
}

fn size_gib<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, 1..=51_200).map(Some)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D, bounds: RangeInclusive<u32>) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let good = u32::try_from(number).ok().filter(|number| bounds.contains(number));
    let rule = || format!("a whole number from {} to {} is expected", bounds.start(), bounds.end());
    good.ok_or_else(|| serde::de::Error::custom(rule()))
}

impl Catalogue {
    /// The built-in one, as a file to start from.
    pub const BUILT_IN: &'static str = include_str!("catalogue/default.toml");

    /// The built-in one.
    pub fn built_in() -> Self {
        Self::parse(Self::BUILT_IN).expect("a test holds it to its own rules")
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub fn read(path: &Path) -> Result<Self, CatalogueError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// What a text says.
    ///
    /// # Errors
    /// All but [`CatalogueError::Read`].
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let File { instance_type: types, template: templates } = toml::from_str(text)?;
        if types.is_empty() {
            return Err(CatalogueError::Empty("instance-type"));
        }
        if templates.is_empty() {
            return Err(CatalogueError::Empty("template"));
        }
        let ids = types.iter().map(|one| (one.id.span().start, format!("id {}", one.id.as_ref().0)));
        let names = types.iter().map(|one| (one.id.span().start, format!("{}.{}", one.family, one.size)));
        let of_templates = templates.iter().map(|one| (one.id.span().start, format!("id {}", one.id.as_ref().0)));
        let mut seen = BTreeSet::new();
        for (at, what) in ids.chain(names).chain(of_templates) {
            if !seen.insert(what.clone()) {
                return Err(CatalogueError::Twice { line: text[..at].matches('\n').count() + 1, what });
            }
        }
        Ok(Self { types, templates })
    }

    /// All types, those that are not offered any more among them, and those `used` by the caller's instances: clients
    /// look for the types of these in the list.
    pub(crate) fn types(&self, used: impl Iterator<Item = InstanceTypeId>) -> reply::InstanceTypes<'_> {
        let gone: BTreeSet<_> = used.filter(|id| self.with_id(*id).is_none()).collect();
        let gone = gone.into_iter().map(reply::InstanceType::gone);
        reply::InstanceTypes { instance_types: self.types.iter().map(Type::shown).chain(gone).collect() }
    }

    /// A type by its id; `is_used` tells of one that is not in the catalogue whether an instance of the caller's has
    /// it all the same.
    pub(crate) fn type_with_id(
        &self,
        id: InstanceTypeId,
        is_used: impl FnOnce() -> bool,
    ) -> Option<reply::InstanceType<'_>> {
        self.with_id(id).map(Type::shown).or_else(|| is_used().then(|| reply::InstanceType::gone(id)))
    }

    fn with_id(&self, id: InstanceTypeId) -> Option<&Type> {
        self.types.iter().find(|one| one.id.as_ref().0 == id)
    }

    /// The templates that are offered.
    pub(crate) fn templates(&self) -> reply::Templates<'_> {
        reply::Templates { templates: self.templates.iter().filter(|one| one.offered).map(Template::shown).collect() }
    }

    /// A template by its id, as [`type_with_id`](Self::type_with_id).
    pub(crate) fn template_with_id(
        &self,
        id: TemplateId,
        is_used: impl FnOnce() -> bool,
    ) -> Option<reply::Template<'_>> {
        let known = self.templates.iter().find(|one| one.id.as_ref().0 == id).map(Template::shown);
        known.or_else(|| is_used().then(|| reply::Template::gone(id)))
    }

    /// Has the log name what instances have and the catalogue has not.
    pub(crate) fn warn_of_gone(&self, zone: &Zone) {
        let mut gone: BTreeMap<String, usize> = BTreeMap::new();
        for InstanceProperties { instance_type, template, .. } in zone.instances().map(|one| &one.properties) {
            if self.with_id(*instance_type).is_none() {
                *gone.entry(format!("instance type {instance_type}")).or_default() += 1;
            }
            if self.driver_of(*template).is_none() {
                *gone.entry(format!("template {template}")).or_default() += 1;
            }
        }
        for (what, instances) in gone {
            warn!(%what, instances, "the catalogue lacks what instances have; put it back, with offered = false");
        }
    }

    /// Whether an instance can be created with this type; `None` where there is none.
    pub(crate) fn offers_type(&self, id: InstanceTypeId) -> Option<bool> {
        self.with_id(id).map(|one| one.offered)
    }

    /// Who makes the instances of a template, and whether one can be created with it; `None` where there is none.
    pub(crate) fn driver_of(&self, id: TemplateId) -> Option<(Driver, bool)> {
        let template = self.templates.iter().find(|one| one.id.as_ref().0 == id)?;
        let driver = match template.driver {
            DriverName::Netns => Driver::Netns,
            DriverName::External => Driver::External,
        };
        Some((driver, template.offered))
    }
}

impl Type {
    fn shown(&self) -> reply::InstanceType<'_> {
        reply::InstanceType {
            id: self.id.as_ref().0,
            size: &self.size,
            family: &self.family,
            cpus: self.cpus,
            memory: u64::from(self.memory_mib) * MIB,
            authorized: self.offered,
        }
    }
}

impl Template {
    fn shown(&self) -> reply::Template<'_> {
        reply::Template {
            id: self.id.as_ref().0,
            name: &self.name,
            description: &self.description,
            visibility: "public",
            default_user: self.default_user.as_deref(),
            size: self.size_gib.map(|size| u64::from(size) * GIB),
            boot_mode: self.boot_mode.map(|mode| match mode {
                BootMode::Legacy => "legacy",
                BootMode::Uefi => "uefi",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
