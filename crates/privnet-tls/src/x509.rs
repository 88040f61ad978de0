//! What we use of libcrypto for certificates and their keys. With `libssl.rs` the only unsafe code of this crate.
//!
//! The declarations are those of `openssl/x509.h`, `evp.h` and `err.h`. Every object is owned by a Rust value
//! that frees it.

use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_ulong, c_void};
use std::ptr::{self, NonNull};

use privnet_crypto::{Secret, wipe};

use crate::error::CertificateError;

/// An opaque type of the library.
#[repr(C)]
pub(crate) struct RawX509([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
pub(crate) struct RawKey([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct RawRequest([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct RawPkcs8([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct DigestContext([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Digest([u8; 0]);

#[link(name = "crypto")]
unsafe extern "C" {
    fn d2i_X509(out: *mut *mut RawX509, der: *mut *const c_uchar, octets: c_long) -> *mut RawX509;
    fn i2d_X509(certificate: *const RawX509, out: *mut *mut c_uchar) -> c_int;
    fn X509_free(certificate: *mut RawX509);
    fn X509_check_private_key(certificate: *const RawX509, key: *const RawKey) -> c_int;
    fn X509_check_ca(certificate: *mut RawX509) -> c_int;
    fn X509_get_pubkey(certificate: *mut RawX509) -> *mut RawKey;

    fn d2i_X509_REQ(out: *mut *mut RawRequest, der: *mut *const c_uchar, octets: c_long) -> *mut RawRequest;
    fn X509_REQ_free(request: *mut RawRequest);
    fn X509_REQ_get_pubkey(request: *mut RawRequest) -> *mut RawKey;
    fn X509_REQ_verify(request: *mut RawRequest, key: *mut RawKey) -> c_int;

    fn EVP_PKEY_Q_keygen(library: *mut c_void, properties: *const c_char, kind: *const c_char, ...) -> *mut RawKey;
    fn EVP_PKEY_free(key: *mut RawKey);
    fn d2i_AutoPrivateKey(out: *mut *mut RawKey, der: *mut *const c_uchar, octets: c_long) -> *mut RawKey;
    fn i2d_PUBKEY(key: *const RawKey, out: *mut *mut c_uchar) -> c_int;
    fn EVP_PKEY2PKCS8(key: *const RawKey) -> *mut RawPkcs8;
    fn i2d_PKCS8_PRIV_KEY_INFO(key: *const RawPkcs8, out: *mut *mut c_uchar) -> c_int;
    fn PKCS8_PRIV_KEY_INFO_free(key: *mut RawPkcs8);

    fn EVP_MD_CTX_new() -> *mut DigestContext;
    fn EVP_MD_CTX_free(context: *mut DigestContext);
    fn EVP_sha256() -> *const Digest;
    fn EVP_DigestSignInit(
        context: *mut DigestContext,
        key_context: *mut *mut c_void,
        digest: *const Digest,
        engine: *mut c_void,
        key: *mut RawKey,
    ) -> c_int;
    fn EVP_DigestSign(
        context: *mut DigestContext,
        signature: *mut c_uchar,
        octets: *mut usize,
        data: *const c_uchar,
        data_octets: usize,
    ) -> c_int;

    fn CRYPTO_free(memory: *mut c_void, file: *const c_char, line: c_int);
    fn ERR_get_error() -> c_ulong;
    fn ERR_clear_error();
    fn ERR_error_string_n(error: c_ulong, text: *mut c_char, space: usize);
}

/// Owns an X509.
pub(crate) struct X509(NonNull<RawX509>);

impl X509 {
    /// Reads a certificate that is nothing but DER.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let read = |from: *mut *const c_uchar, octets| {
            // SAFETY: `whole` passes a pointer to as many octets as it tells.
            unsafe { d2i_X509(ptr::null_mut(), from, octets) }
        };
        let (raw, all) = whole(der, read).map_err(|cause| damaged("certificate", cause))?;
        let certificate = Self(raw);
        if all { Ok(certificate) } else { Err(damaged("certificate", "something follows it".into())) }
    }

    /// The library's pointer, valid as long as this is.
    pub(crate) fn as_ptr(&self) -> *mut RawX509 {
        self.0.as_ptr()
    }

    pub(crate) fn has_key(&self, key: &Key) -> bool {
        // SAFETY: both are valid and only read.
        let matches = unsafe { X509_check_private_key(self.0.as_ptr(), key.0.as_ptr()) } == 1;
        clear_errors();
        matches
    }

    /// Whether it may sign others.
    pub(crate) fn is_authority(&self) -> bool {
        // SAFETY: the certificate is valid; what the library notes in it about its extensions, it guards by a lock.
        unsafe { X509_check_ca(self.0.as_ptr()) == 1 }
    }

    /// Its SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, CertificateError> {
        // SAFETY: the certificate is valid; the key that comes back is ours to free.
        let key = unsafe { X509_get_pubkey(self.0.as_ptr()) };
        Key(non_null(key, "read the public key of a certificate")?).public_der()
    }
}

impl Drop for X509 {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { X509_free(self.0.as_ptr()) }
    }
}

/// The DER of a certificate that the library holds.
///
/// # Safety
/// The pointer is a valid one, and nobody changes the certificate meanwhile.
pub(crate) unsafe fn der_of(certificate: *const RawX509) -> Result<Vec<u8>, CertificateError> {
    // SAFETY: by the caller; `encoded` passes null or a place for a pointer.
    encoded("encode a certificate", |out| unsafe { i2d_X509(certificate, out) }, <[u8]>::to_vec)
}

/// Owns an EVP_PKEY.
pub(crate) struct Key(NonNull<RawKey>);

// SAFETY: a key is not changed once it is made; its count of references and the library's caches in it are
// atomic or guarded by its lock.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    pub(crate) fn generate_p256() -> Result<Self, CertificateError> {
        // SAFETY: null means the default library context and no wish as to the provider; a key of kind EC takes
        // one further argument, the name of its curve.
        let key = unsafe { EVP_PKEY_Q_keygen(ptr::null_mut(), ptr::null(), c"EC".as_ptr(), c"P-256".as_ptr()) };
        non_null(key, "make a key").map(Self)
    }

    /// Reads a private key in PKCS#8 or the older form of its kind.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let read = |from: *mut *const c_uchar, octets| {
            // SAFETY: `whole` passes a pointer to as many octets as it tells.
            unsafe { d2i_AutoPrivateKey(ptr::null_mut(), from, octets) }
        };
        let (raw, all) = whole(der, read).map_err(|cause| damaged("private key", cause))?;
        let key = Self(raw);
        if all { Ok(key) } else { Err(damaged("private key", "something follows it".into())) }
    }

    /// The library's pointer, valid as long as this is.
    pub(crate) fn as_ptr(&self) -> *mut RawKey {
        self.0.as_ptr()
    }

    /// The private key in PKCS#8.
    pub(crate) fn private_der(&self) -> Result<Secret, CertificateError> {
        const DOING: &str = "encode a private key";
        // SAFETY: the key is valid and only read.
        let info = non_null(unsafe { EVP_PKEY2PKCS8(self.0.as_ptr()) }, DOING)?;
        // SAFETY: what was just made is valid; `encoded` passes null or a place for a pointer.
        let encode = |out| unsafe { i2d_PKCS8_PRIV_KEY_INFO(info.as_ptr(), out) };
        let der = encoded(DOING, encode, |der| Secret::of(&[der]));
        // SAFETY: this is the only owner.
        unsafe { PKCS8_PRIV_KEY_INFO_free(info.as_ptr()) };
        der
    }

    /// The public key's SubjectPublicKeyInfo.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, CertificateError> {
        // SAFETY: the key is valid and only read; `encoded` passes null or a place for a pointer.
        encoded("encode a public key", |out| unsafe { i2d_PUBKEY(self.0.as_ptr(), out) }, <[u8]>::to_vec)
    }

    /// A signature over the SHA-256 of some octets, as X.509 has it for this kind of key.
    pub(crate) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, CertificateError> {
        const DOING: &str = "sign";
        /// More than any key that we make needs (ECDSA over P-256: 72).
        const SIGNATURE_OCTETS_MAX: usize = 256;
        // SAFETY: it takes no arguments.
        let context = non_null(unsafe { EVP_MD_CTX_new() }, DOING)?;
        let mut signature = vec![0; SIGNATURE_OCTETS_MAX];
        let mut octets = signature.len();
        // SAFETY: the context is valid and freed once; no engine; the key takes a reference of its own; the data
        // is as long as is told and only read; the library writes no more than the space that it is told of.
        let done = unsafe {
            let ready =
                EVP_DigestSignInit(context.as_ptr(), ptr::null_mut(), EVP_sha256(), ptr::null_mut(), self.0.as_ptr());
            let done = ready == 1
                && EVP_DigestSign(context.as_ptr(), signature.as_mut_ptr(), &raw mut octets, data.as_ptr(), data.len())
                    == 1;
            EVP_MD_CTX_free(context.as_ptr());
            done
        };
        if !done {
            return Err(failure(DOING));
        }
        signature.truncate(octets);
        Ok(signature)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// The SubjectPublicKeyInfo of a certificate signing request (RFC 2986), whose sender has proved to have the key.
pub(crate) fn key_of_request(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    const WHAT: &str = "certificate signing request";
    let read = |from: *mut *const c_uchar, octets| {
        // SAFETY: `whole` passes a pointer to as many octets as it tells.
        unsafe { d2i_X509_REQ(ptr::null_mut(), from, octets) }
    };
    let (request, all) = whole(der, read).map_err(|cause| damaged(WHAT, cause))?;
    // SAFETY: the request is valid, and freed once, at the end; the key that comes back is ours to free.
    let (key, verified) = unsafe {
        let key = NonNull::new(X509_REQ_get_pubkey(request.as_ptr())).map(Key);
        let verified = key.as_ref().is_some_and(|key| X509_REQ_verify(request.as_ptr(), key.0.as_ptr()) == 1);
        X509_REQ_free(request.as_ptr());
        (key, verified)
    };
    let Some(key) = key else {
        return Err(damaged(WHAT, failure_text()));
    };
    clear_errors();
    match (all, verified) {
        (true, true) => key.public_der(),
        (true, false) => Err(CertificateError::ForgedRequest),
        (false, _) => Err(damaged(WHAT, "something follows it".into())),
    }
}

/// Has the library read an object, and tells whether that was all there is; else the library's words.
fn whole<T>(
    der: &[u8],
    read: impl FnOnce(*mut *const c_uchar, c_long) -> *mut T,
) -> Result<(NonNull<T>, bool), String> {
    let octets = c_long::try_from(der.len()).map_err(|_| "it is too long".to_owned())?;
    let mut at = der.as_ptr();
    let object = NonNull::new(read(&raw mut at, octets)).ok_or_else(failure_text)?;
    // What the library tried before it found the right form is no error.
    clear_errors();
    Ok((object, at == der.as_ptr_range().end))
}

/// Has the library encode an object, and keeps it.
fn encoded<T>(
    doing: &'static str,
    encode: impl Fn(*mut *mut c_uchar) -> c_int,
    keep: impl FnOnce(&[u8]) -> T,
) -> Result<T, CertificateError> {
    let mut memory: *mut c_uchar = ptr::null_mut();
    let octets = encode(&raw mut memory);
    let (Ok(octets), Some(memory)) = (usize::try_from(octets), NonNull::new(memory)) else {
        return Err(failure(doing));
    };
    // SAFETY: a pointer to null was passed, so the library has allocated as much as it tells, and nobody else has it.
    let der = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), octets) };
    let kept = keep(der);
    // It may be a private key.
    wipe(der);
    // SAFETY: it is freed by the library's own means, and used no more.
    unsafe { CRYPTO_free(memory.as_ptr().cast(), c"".as_ptr(), 0) };
    Ok(kept)
}

fn non_null<T>(pointer: *mut T, doing: &'static str) -> Result<NonNull<T>, CertificateError> {
    NonNull::new(pointer).ok_or_else(|| failure(doing))
}

fn failure(doing: &'static str) -> CertificateError {
    CertificateError::Library { doing, cause: failure_text() }
}

fn damaged(what: &'static str, cause: String) -> CertificateError {
    CertificateError::Damaged { what, cause }
}

fn clear_errors() {
    // SAFETY: it takes no arguments.
    unsafe { ERR_clear_error() }
}

/// Takes the first error that the library noted for this thread, and forgets those that followed from it.
pub(crate) fn failure_text() -> String {
    // SAFETY: it takes no arguments.
    let error = unsafe { ERR_get_error() };
    clear_errors();
    text_of(error)
}

/// The library's words for an error.
pub(crate) fn text_of(error: c_ulong) -> String {
    let mut text = [0; 256];
    // SAFETY: the library ends its text with a zero within the space that it is told of.
    let text = unsafe {
        ERR_error_string_n(error, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr())
    };
    text.to_string_lossy().into_owned()
}
