//! What columns of several tables have in common.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use privnet_model::{Generation, Labels, MacAddr, OrganizationId, Timestamp};
use rusqlite::types::ValueRef;
use serde::Serialize;

use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::Value;

pub(super) const NULL: Value<'static> = Value::Borrowed(ValueRef::Null);

/// What is wrong with a word that this version does not know.
pub(super) const UNKNOWN_WORD: &str = "it is none of ours";

pub(super) fn octets(octets: &[u8]) -> Value<'_> {
    Value::Borrowed(ValueRef::Blob(octets))
}

pub(super) fn text(text: &str) -> Value<'_> {
    Value::Borrowed(ValueRef::Text(text.as_bytes()))
}

pub(super) fn number(number: u64) -> Value<'static> {
    Value::from(number.cast_signed())
}

pub(super) fn optional<T>(value: Option<T>) -> Value<'static>
where
    Value<'static>: From<T>,
{
    value.map_or(NULL, Value::from)
}

pub(super) fn list<T: Serialize>(items: &[T]) -> Value<'static> {
    optional((!items.is_empty()).then(|| json(items)))
}

pub(super) fn labels_json(labels: &Labels) -> Value<'static> {
    optional((!labels.is_empty()).then(|| json(&labels.iter().collect::<BTreeMap<_, _>>())))
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and addresses have a JSON form")
}

pub(super) fn mac_bits(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

pub(super) fn organization(fields: &mut Fields<'_>) -> Result<OrganizationId, StoreError> {
    Ok(OrganizationId::from_bytes(fields.get()?))
}

pub(super) fn optional_timestamp(fields: &mut Fields<'_>) -> Result<Option<Timestamp>, StoreError> {
    Ok(fields.get::<Option<i64>>()?.map(|ms| Timestamp::from_unix_ms(ms.cast_unsigned())))
}

pub(super) fn timestamp(fields: &mut Fields<'_>) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_unix_ms(fields.get::<i64>()?.cast_unsigned()))
}

pub(super) fn generation(fields: &mut Fields<'_>) -> Result<Generation, StoreError> {
    Ok(Generation(fields.get::<i64>()?.cast_unsigned()))
}

pub(super) fn address(fields: &mut Fields<'_>) -> Result<Option<Ipv4Addr>, StoreError> {
    Ok(fields.get::<Option<u32>>()?.map(Ipv4Addr::from_bits))
}

pub(super) fn labels(fields: &mut Fields<'_>) -> Result<Labels, StoreError> {
    let labels = fields.optional_text(serde_json::from_str::<BTreeMap<String, String>>)?;
    Ok(labels.into_iter().flatten().collect())
}

pub(super) fn mac(fields: &mut Fields<'_>) -> Result<Option<MacAddr>, StoreError> {
    let Some(bits) = fields.get::<Option<i64>>()? else { return Ok(None) };
    match bits.to_be_bytes() {
        [0, 0, a, b, c, d, e, f] => Ok(Some(MacAddr::new([a, b, c, d, e, f]))),
        _ => Err(fields.invalid("it does not fit in 48 bits")),
    }
}
