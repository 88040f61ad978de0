//! What we use of OpenSSL's libcrypto (3.0 or newer), and the only unsafe code of this crate.
//!
//! The declarations are those of `openssl/evp.h`, `core.h`, `crypto.h` and `err.h`. Every object is owned by a
//! Rust value that frees it; a null pointer or a result that is not 1 becomes a [`CryptoError`].

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use crate::{CryptoError, NONCE_OCTETS, SEALING_KEY_OCTETS, SIGNATURE_OCTETS, Secret, TAG_OCTETS};

/// An opaque type of the library.
#[repr(C)]
struct Mac([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct MacContext([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Cipher([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct CipherContext([u8; 0]);

/// OSSL_PARAM: a named argument. A list ends in one without a name.
#[repr(C)]
struct Param {
    key: *const c_char,
    data_type: c_uint,
    data: *mut c_void,
    data_size: usize,
    return_size: usize,
}

const OSSL_PARAM_UTF8_STRING: c_uint = 4;
const EVP_CTRL_AEAD_GET_TAG: c_int = 0x10;
const EVP_CTRL_AEAD_SET_TAG: c_int = 0x11;

#[link(name = "crypto")]
unsafe extern "C" {
    fn EVP_MAC_fetch(library: *mut c_void, algorithm: *const c_char, properties: *const c_char) -> *mut Mac;
    fn EVP_MAC_CTX_new(mac: *mut Mac) -> *mut MacContext;
    fn EVP_MAC_CTX_dup(from: *const MacContext) -> *mut MacContext;
    fn EVP_MAC_CTX_free(context: *mut MacContext);
    fn EVP_MAC_init(context: *mut MacContext, key: *const u8, octets: usize, params: *const Param) -> c_int;
    fn EVP_MAC_update(context: *mut MacContext, data: *const u8, octets: usize) -> c_int;
    fn EVP_MAC_final(context: *mut MacContext, out: *mut u8, written: *mut usize, space: usize) -> c_int;

    fn EVP_aes_256_gcm() -> *const Cipher;
    fn EVP_CIPHER_CTX_new() -> *mut CipherContext;
    fn EVP_CIPHER_CTX_free(context: *mut CipherContext);
    fn EVP_CIPHER_CTX_ctrl(context: *mut CipherContext, what: c_int, number: c_int, data: *mut c_void) -> c_int;
    fn EVP_CipherInit_ex(
        context: *mut CipherContext,
        cipher: *const Cipher,
        engine: *mut c_void,
        key: *const u8,
        nonce: *const u8,
        encrypt: c_int,
    ) -> c_int;
    fn EVP_CipherUpdate(
        context: *mut CipherContext,
        out: *mut u8,
        written: *mut c_int,
        data: *const u8,
        octets: c_int,
    ) -> c_int;
    fn EVP_CipherFinal_ex(context: *mut CipherContext, out: *mut u8, written: *mut c_int) -> c_int;

    fn EVP_Q_digest(
        library: *mut c_void,
        algorithm: *const c_char,
        properties: *const c_char,
        data: *const u8,
        octets: usize,
        out: *mut u8,
        written: *mut usize,
    ) -> c_int;

    fn OPENSSL_cleanse(memory: *mut c_void, octets: usize);
    fn CRYPTO_memcmp(one: *const c_void, other: *const c_void, octets: usize) -> c_int;

    fn ERR_get_error() -> c_ulong;
    fn ERR_clear_error();
    fn ERR_error_string_n(error: c_ulong, text: *mut c_char, space: usize);
}

/// An HMAC-SHA-256 that has been given its key and nothing else.
pub(crate) struct KeyedHmac(MacState);

impl KeyedHmac {
    pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let state = MacState::hmac()?;
        let digest = c"SHA256";
        let params = [
            Param {
                key: c"digest".as_ptr(),
                data_type: OSSL_PARAM_UTF8_STRING,
                data: digest.as_ptr().cast_mut().cast(),
                data_size: digest.count_bytes(),
                return_size: 0,
            },
            Param { key: ptr::null(), data_type: 0, data: ptr::null_mut(), data_size: 0, return_size: 0 },
        ];
        // SAFETY: the key is as long as is told; the list of parameters has its end and is only read; the
        // library keeps copies of both.
        let done = unsafe { EVP_MAC_init(state.0.as_ptr(), key.as_ptr(), key.len(), params.as_ptr()) };
        check(done, "prepare an HMAC key")?;
        Ok(Self(state))
    }

    pub(crate) fn sign(&self, parts: &[&[u8]]) -> Result<[u8; SIGNATURE_OCTETS], CryptoError> {
        let state = self.0.duplicate()?;
        for part in parts {
            // SAFETY: the part is as long as is told, and only read.
            let done = unsafe { EVP_MAC_update(state.0.as_ptr(), part.as_ptr(), part.len()) };
            check(done, "compute an HMAC")?;
        }
        let mut signature = [0; SIGNATURE_OCTETS];
        let mut written = 0;
        // SAFETY: the library writes no more than the space that it is told of.
        let done =
            unsafe { EVP_MAC_final(state.0.as_ptr(), signature.as_mut_ptr(), &raw mut written, SIGNATURE_OCTETS) };
        check(done, "finish an HMAC")?;
        assert_eq!(written, SIGNATURE_OCTETS, "SHA-256 has one length");
        Ok(signature)
    }
}

/// An EVP_MAC.
struct Algorithm(NonNull<Mac>);

// SAFETY: an algorithm does not change but for its count of references, which is atomic.
unsafe impl Send for Algorithm {}
// SAFETY: as above.
unsafe impl Sync for Algorithm {}

/// Owns an EVP_MAC_CTX.
struct MacState(NonNull<MacContext>);

// SAFETY: a context belongs to no thread (openssl-threads(7)).
unsafe impl Send for MacState {}
// SAFETY: by a shared reference a context is only duplicated, and EVP_MAC_CTX_dup takes it as const: it reads
// the context, and counts its references to the algorithm atomically.
unsafe impl Sync for MacState {}

impl MacState {
    fn hmac() -> Result<Self, CryptoError> {
        /// The algorithm, looked up once and never freed.
        static HMAC: OnceLock<Algorithm> = OnceLock::new();
        let algorithm = match HMAC.get() {
            Some(known) => known,
            None => {
                // SAFETY: null means the default library context and no wish as to the provider.
                let fetched = unsafe { EVP_MAC_fetch(ptr::null_mut(), c"HMAC".as_ptr(), ptr::null()) };
                let fetched = non_null(fetched, "find HMAC")?;
                HMAC.get_or_init(|| Algorithm(fetched))
            }
        };
        // SAFETY: the algorithm lives for ever; the context takes a reference of its own.
        non_null(unsafe { EVP_MAC_CTX_new(algorithm.0.as_ptr()) }, "make an HMAC").map(Self)
    }

    fn duplicate(&self) -> Result<Self, CryptoError> {
        // SAFETY: the context is valid and not changed.
        non_null(unsafe { EVP_MAC_CTX_dup(self.0.as_ptr()) }, "copy an HMAC").map(Self)
    }
}

impl Drop for MacState {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { EVP_MAC_CTX_free(self.0.as_ptr()) }
    }
}

/// Nonce, ciphertext and tag by AES-256-GCM.
pub(crate) fn seal(
    key: &[u8; SEALING_KEY_OCTETS],
    nonce: [u8; NONCE_OCTETS],
    secret: &[u8],
    purpose: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let cipher = CipherState::new(key, &nonce, Direction::Encrypt)?;
    cipher.associate(purpose)?;
    let mut sealed = nonce.to_vec();
    sealed.extend(cipher.pass(secret)?.as_bytes());
    if !cipher.finish() {
        return Err(failure("finish an encryption"));
    }
    let mut tag = [0; TAG_OCTETS];
    cipher.control(EVP_CTRL_AEAD_GET_TAG, &mut tag)?;
    sealed.extend(tag);
    Ok(sealed)
}

/// What was sealed; none if the tag does not match.
pub(crate) fn open(
    key: &[u8; SEALING_KEY_OCTETS],
    nonce: &[u8; NONCE_OCTETS],
    ciphertext: &[u8],
    tag: &[u8; TAG_OCTETS],
    purpose: &[u8],
) -> Result<Option<Secret>, CryptoError> {
    let cipher = CipherState::new(key, nonce, Direction::Decrypt)?;
    cipher.associate(purpose)?;
    let secret = cipher.pass(ciphertext)?;
    cipher.control(EVP_CTRL_AEAD_SET_TAG, &mut tag.clone())?;
    let matches = cipher.finish();
    // SAFETY: it takes no arguments.
    unsafe { ERR_clear_error() };
    Ok(matches.then_some(secret))
}

#[derive(Clone, Copy)]
enum Direction {
    Decrypt = 0,
    Encrypt = 1,
}

/// Owns an EVP_CIPHER_CTX in the middle of one AES-256-GCM.
struct CipherState(NonNull<CipherContext>);

impl CipherState {
    fn new(
        key: &[u8; SEALING_KEY_OCTETS],
        nonce: &[u8; NONCE_OCTETS],
        direction: Direction,
    ) -> Result<Self, CryptoError> {
        // SAFETY: it takes no arguments.
        let state = Self(non_null(unsafe { EVP_CIPHER_CTX_new() }, "make a cipher")?);
        // SAFETY: key and nonce have the lengths that this cipher has by default, and are copied; no engine.
        let done = unsafe {
            EVP_CipherInit_ex(
                state.0.as_ptr(),
                EVP_aes_256_gcm(),
                ptr::null_mut(),
                key.as_ptr(),
                nonce.as_ptr(),
                direction as c_int,
            )
        };
        check(done, "begin AES-256-GCM")?;
        Ok(state)
    }

    /// Adds what is authenticated and not encrypted.
    fn associate(&self, data: &[u8]) -> Result<(), CryptoError> {
        self.update(ptr::null_mut(), data, "authenticate what goes with a secret").map(|_| ())
    }

    /// Encrypts or decrypts.
    fn pass(&self, data: &[u8]) -> Result<Secret, CryptoError> {
        Secret::filled(data.len(), |out| {
            let written = self.update(out.as_mut_ptr(), data, "pass a secret through AES-256-GCM")?;
            assert_eq!(usize::try_from(written), Ok(data.len()), "GCM is a stream: as much comes out as goes in");
            Ok(data.len())
        })
    }

    /// `out` is null, or has room for as much as `data` is long: GCM is a stream and keeps nothing back.
    fn update(&self, out: *mut u8, data: &[u8], doing: &'static str) -> Result<c_int, CryptoError> {
        let octets = c_int::try_from(data.len())
            .map_err(|_| CryptoError::Library { doing, cause: format!("{} octets are too many", data.len()) })?;
        let mut written = 0;
        // SAFETY: the data is as long as is told, and only read; `out` is null or as long.
        let done = unsafe { EVP_CipherUpdate(self.0.as_ptr(), out, &raw mut written, data.as_ptr(), octets) };
        check(done, doing)?;
        Ok(written)
    }

    /// Computes the tag or compares it; false if it does not match.
    fn finish(&self) -> bool {
        let mut nothing = [0; TAG_OCTETS];
        let mut written = 0;
        // SAFETY: there is room for a block, and GCM writes nothing here.
        let done = unsafe { EVP_CipherFinal_ex(self.0.as_ptr(), nothing.as_mut_ptr(), &raw mut written) };
        done == 1
    }

    fn control(&self, what: c_int, tag: &mut [u8; TAG_OCTETS]) -> Result<(), CryptoError> {
        // SAFETY: both controls that we use read or write as many octets as they are told.
        let done = unsafe { EVP_CIPHER_CTX_ctrl(self.0.as_ptr(), what, TAG_OCTETS as c_int, tag.as_mut_ptr().cast()) };
        check(done, "exchange a tag")
    }
}

impl Drop for CipherState {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { EVP_CIPHER_CTX_free(self.0.as_ptr()) }
    }
}

pub(crate) fn wipe(secret: &mut [u8]) {
    // SAFETY: the memory is as long as is told.
    unsafe { OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len()) }
}

pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    // SAFETY: both are as long as is told, and only read.
    one.len() == other.len() && unsafe { CRYPTO_memcmp(one.as_ptr().cast(), other.as_ptr().cast(), one.len()) } == 0
}

/// The digest of that name, whose length is the array's.
pub(crate) fn digest<const OCTETS: usize>(algorithm: &CStr, data: &[u8]) -> Result<[u8; OCTETS], CryptoError> {
    /// EVP_MAX_MD_SIZE: no digest is longer.
    const SPACE: usize = 64;
    let mut digest = [0; SPACE];
    let mut written = 0;
    // SAFETY: null means the default library context and no wish as to the provider; the data is as long as is
    // told, and only read; there is room for any digest.
    let done = unsafe {
        EVP_Q_digest(
            ptr::null_mut(),
            algorithm.as_ptr(),
            ptr::null(),
            data.as_ptr(),
            data.len(),
            digest.as_mut_ptr(),
            &raw mut written,
        )
    };
    check(done, "compute a digest")?;
    Ok(digest[..written].try_into().expect("a digest has one length"))
}

fn check(done: c_int, doing: &'static str) -> Result<(), CryptoError> {
    if done == 1 { Ok(()) } else { Err(failure(doing)) }
}

fn non_null<T>(pointer: *mut T, doing: &'static str) -> Result<NonNull<T>, CryptoError> {
    NonNull::new(pointer).ok_or_else(|| failure(doing))
}

/// Takes the first error that the library noted for this thread, and forgets those that followed from it.
fn failure(doing: &'static str) -> CryptoError {
    let mut text = [0; 256];
    // SAFETY: the library ends its text with a zero within the space that it is told of.
    let cause = unsafe {
        ERR_error_string_n(ERR_get_error(), text.as_mut_ptr(), text.len());
        ERR_clear_error();
        CStr::from_ptr(text.as_ptr())
    };
    CryptoError::Library { doing, cause: cause.to_string_lossy().into_owned() }
}
