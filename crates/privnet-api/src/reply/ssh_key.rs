use schemars::JsonSchema;
use serde::Serialize;

/// All SSH keys.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ssh-keys")]
pub struct SshKeys<'a> {
    /// By name.
    pub ssh_keys: Vec<SshKey<'a>>,
}

/// A registered SSH key.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ssh-key")]
pub struct SshKey<'a> {
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
    /// The MD5 of the key, in hexadecimal with colons (RFC 4716 §4). Absent where the server's cryptography is
    /// restricted to approved algorithms, of which MD5 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{2}(:[0-9a-f]{2}){15}$"))]
    fingerprint: Option<String>,
}

impl<'a> From<&'a privnet_model::SshKey> for SshKey<'a> {
    fn from(key: &'a privnet_model::SshKey) -> Self {
        let digest = privnet_crypto::md5(&key.public_key.octets()).ok();
        let fingerprint = digest.map(|digest| digest.map(|octet| format!("{octet:02x}")).join(":"));
        Self { name: key.name.as_str(), fingerprint }
    }
}
