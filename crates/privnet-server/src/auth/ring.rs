use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use privnet_crypto::{CryptoError, OpenError, SealingKey, SigningKey};
use privnet_model::zone::Zone;
use privnet_model::{Key, KeyId, SealedSecret};
use tracing::error;

/// The secrets of keys: sealed for the store, opened for verifying. Opening is slow beside verifying, so a
/// secret is opened once.
pub(crate) struct KeyRing {
    master: SealingKey,
    opened: RwLock<HashMap<KeyId, Arc<SigningKey>>>,
    /// What nobody has.
    nobodys: Arc<SigningKey>,
}

/// What makes a key one: whoever has the secret.
pub(crate) struct NewSecret {
    pub(crate) id: KeyId,
    /// In the clear, for its holder alone.
    pub(crate) secret: String,
    pub(crate) sealed_secret: SealedSecret,
}

impl KeyRing {
    /// A ring with the secrets of all the zone's keys. Where some open and one does not, that one's record is
    /// damaged: nobody can sign with its key then, and the others' holders do not suffer.
    ///
    /// # Errors
    /// None can be opened: they were sealed with another master key. Or nothing is known about one.
    pub(crate) fn new(master: SealingKey, zone: &Zone) -> Result<Self, OpenError> {
        let nobodys = Arc::new(SigningKey::new(&privnet_crypto::random::<32>()?)?);
        let mut opened = HashMap::new();
        let mut damaged = Vec::new();
        for key in zone.keys() {
            match open(&master, key) {
                Ok(secret) => drop(opened.insert(key.id, secret)),
                Err(OpenError::Refused) => damaged.push(key),
                Err(cause) => return Err(cause),
            }
        }
        if opened.is_empty() && !damaged.is_empty() {
            return Err(OpenError::Refused);
        }
        for key in damaged {
            error!(key = %key.id, name = key.name.as_str(), "the secret of a key is damaged: nobody can sign with it, revoke it");
            opened.insert(key.id, Arc::clone(&nobodys));
        }
        Ok(Self { master, opened: RwLock::new(opened), nobodys })
    }

    /// What all secrets are encrypted with.
    pub(super) fn master(&self) -> &SealingKey {
        &self.master
    }

    /// A new key's id and secret, as Exoscale's are: 43 characters, which stand for 32 random octets.
    ///
    /// # Errors
    /// [`CryptoError`].
    pub(crate) fn new_secret(&self) -> Result<NewSecret, CryptoError> {
        let id = KeyId::from_bytes(privnet_crypto::random()?);
        let secret = BASE64_URL_SAFE_NO_PAD.encode(privnet_crypto::random::<32>()?);
        Ok(NewSecret { id, sealed_secret: self.seal(id, &secret)?, secret })
    }

    /// Encrypts a key's secret for the store; it can be opened as that key's alone.
    pub(super) fn seal(&self, id: KeyId, secret: &str) -> Result<SealedSecret, CryptoError> {
        Ok(SealedSecret::new(self.master.seal(secret.as_bytes(), &purpose(id))?))
    }

    /// What one of the zone's keys signs with; for no key, and one that was damaged at the start, something that nothing was ever signed with.
    ///
    /// # Errors
    /// [`OpenError`]: the secret is damaged, which it was not when the server started.
    pub(crate) fn signing_key(&self, key: Option<&Key>, zone: &Zone) -> Result<Arc<SigningKey>, OpenError> {
        let Some(key) = key else { return Ok(Arc::clone(&self.nobodys)) };
        if let Some(known) = self.opened.read().unwrap_or_else(PoisonError::into_inner).get(&key.id) {
            return Ok(Arc::clone(known));
        }
        let new = open(&self.master, key)?;
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|id, _| zone.key(*id).is_some());
        opened.insert(key.id, Arc::clone(&new));
        Ok(new)
    }
}

fn open(master: &SealingKey, key: &Key) -> Result<Arc<SigningKey>, OpenError> {
    let secret = master.open(key.sealed_secret.as_bytes(), &purpose(key.id))?;
    Ok(Arc::new(SigningKey::new(secret.as_bytes())?))
}

/// Holds a secret to its key: in another key's record it does not open.
fn purpose(id: KeyId) -> Vec<u8> {
    format!("secret of key {id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use privnet_crypto::Secret;
    use privnet_model::zone::{Change, Row};
    use privnet_model::{Name, Scope, Timestamp};

    use super::*;

    #[test]
    fn the_secrets_of_keys_that_are_gone_are_forgotten() {
        let mut zone = Zone::default();
        let ring = KeyRing::new(SealingKey::new(Secret::of(&[&[7; 32]])).expect("32 octets"), &zone).expect("a ring");
        let key = |number: u8| {
            let id = KeyId::from_bytes([number; KeyId::OCTETS]);
            Arc::new(Key {
                id,
                name: Name::try_from("k").expect("a name"),
                scope: Scope::Operator,
                sealed_secret: ring.seal(id, "secret").expect("sealed"),
                created_at: Timestamp::from_unix_ms(0),
                expires_at: None,
            })
        };
        let (gone, next) = (key(1), key(2));
        zone.apply(&Change::Key(Row { before: None, after: Some(Arc::clone(&gone)) }));
        ring.signing_key(Some(&gone), &zone).expect("opened");
        zone.apply(&Change::Key(Row { before: Some(gone), after: None }));
        zone.apply(&Change::Key(Row { before: None, after: Some(Arc::clone(&next)) }));
        ring.signing_key(Some(&next), &zone).expect("opened");
        let opened: Vec<_> = ring.opened.read().expect("no panic").keys().copied().collect();
        assert_eq!(opened, [next.id]);
    }
}
