//! What we use of libssl (OpenSSL 3.0 or newer). With `x509.rs` the only unsafe code of this crate.
//!
//! The declarations are those of `openssl/ssl.h`, `bio.h`, `x509_vfy.h` and `err.h`; several of their names are
//! macros there, for a control with a number. Every object is owned by a Rust value that frees it.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::error::{CertificateFault, Role, TlsError};
use crate::x509::{self, Key, RawKey, RawX509, X509};
use crate::{FINGERPRINT_OCTETS, ServerName};

/// An opaque type of the library.
#[repr(C)]
struct SslContext([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Ssl([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Method([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Bio([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct BioMethod([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Stack([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct TrustStore([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct StoreContext([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct VerifyParam([u8; 0]);
/// An opaque type of the library.
#[repr(C)]
struct Digest([u8; 0]);

type SelectAlpn =
    unsafe extern "C" fn(*mut Ssl, *mut *const c_uchar, *mut c_uchar, *const c_uchar, c_uint, *mut c_void) -> c_int;
type Verify = unsafe extern "C" fn(*mut StoreContext, *mut c_void) -> c_int;

const SSL_CTRL_MODE: c_int = 33;
const SSL_CTRL_SET_SESS_CACHE_MODE: c_int = 44;
const SSL_CTRL_SET_TLSEXT_HOSTNAME: c_int = 55;
const SSL_CTRL_CHAIN_CERT: c_int = 89;
const SSL_CTRL_SET_MIN_PROTO_VERSION: c_int = 123;
const TLS1_2_VERSION: c_long = 0x0303;
const TLSEXT_NAMETYPE_HOST_NAME: c_long = 0;
const SSL_MODE_ENABLE_PARTIAL_WRITE: c_long = 1;
const SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER: c_long = 2;
const SSL_MODE_RELEASE_BUFFERS: c_long = 0x10;
const SSL_SESS_CACHE_OFF: c_long = 0;
const SSL_OP_NO_TICKET: u64 = 1 << 14;
const SSL_OP_NO_COMPRESSION: u64 = 1 << 17;
const SSL_OP_NO_RENEGOTIATION: u64 = 1 << 30;
const SSL_VERIFY_PEER: c_int = 1;
const SSL_ERROR_SSL: c_int = 1;
const SSL_ERROR_WANT_READ: c_int = 2;
const SSL_ERROR_SYSCALL: c_int = 5;
const SSL_ERROR_ZERO_RETURN: c_int = 6;
const SSL_RECEIVED_SHUTDOWN: c_int = 2;
const SSL_TLSEXT_ERR_OK: c_int = 0;
const SSL_TLSEXT_ERR_ALERT_FATAL: c_int = 2;
const OPENSSL_NPN_NEGOTIATED: c_int = 1;
const BIO_C_SET_BUF_MEM_EOF_RETURN: c_int = 130;
const ERR_LIB_SSL: c_ulong = 20;
const SSL_R_CERTIFICATE_VERIFY_FAILED: c_ulong = 134;
/// From here on a reason is the number of an alert that the peer sent.
const SSL_AD_REASON_OFFSET: c_ulong = 1000;
const X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS: c_uint = 0x4;
const X509_CHECK_FLAG_NEVER_CHECK_SUBJECT: c_uint = 0x20;
const X509_V_FLAG_PARTIAL_CHAIN: c_ulong = 0x80000;
const X509_V_ERR_APPLICATION_VERIFICATION: c_int = 50;

#[link(name = "ssl")]
unsafe extern "C" {
    fn TLS_method() -> *const Method;
    fn SSL_CTX_new(method: *const Method) -> *mut SslContext;
    fn SSL_CTX_free(context: *mut SslContext);
    fn SSL_CTX_ctrl(context: *mut SslContext, what: c_int, number: c_long, data: *mut c_void) -> c_long;
    fn SSL_CTX_set_options(context: *mut SslContext, options: u64) -> u64;
    fn SSL_CTX_set_num_tickets(context: *mut SslContext, tickets: usize) -> c_int;
    fn SSL_CTX_use_certificate(context: *mut SslContext, certificate: *mut RawX509) -> c_int;
    fn SSL_CTX_use_PrivateKey(context: *mut SslContext, key: *mut RawKey) -> c_int;
    fn SSL_CTX_set_verify(context: *mut SslContext, mode: c_int, callback: *const c_void);
    fn SSL_CTX_set_cert_verify_callback(context: *mut SslContext, callback: Verify, argument: *mut c_void);
    fn SSL_CTX_set_default_verify_paths(context: *mut SslContext) -> c_int;
    fn SSL_CTX_get_cert_store(context: *const SslContext) -> *mut TrustStore;
    fn SSL_CTX_add_client_CA(context: *mut SslContext, certificate: *mut RawX509) -> c_int;
    fn SSL_CTX_set_alpn_protos(context: *mut SslContext, protocols: *const c_uchar, octets: c_uint) -> c_int;
    fn SSL_CTX_set_alpn_select_cb(context: *mut SslContext, callback: SelectAlpn, argument: *mut c_void);
    fn SSL_CTX_get0_param(context: *mut SslContext) -> *mut VerifyParam;
    fn SSL_select_next_proto(
        out: *mut *mut c_uchar,
        out_octets: *mut c_uchar,
        server: *const c_uchar,
        server_octets: c_uint,
        client: *const c_uchar,
        client_octets: c_uint,
    ) -> c_int;

    fn SSL_new(context: *mut SslContext) -> *mut Ssl;
    fn SSL_free(ssl: *mut Ssl);
    fn SSL_set_accept_state(ssl: *mut Ssl);
    fn SSL_set_connect_state(ssl: *mut Ssl);
    fn SSL_set_bio(ssl: *mut Ssl, incoming: *mut Bio, outgoing: *mut Bio);
    fn SSL_ctrl(ssl: *mut Ssl, what: c_int, number: c_long, data: *mut c_void) -> c_long;
    fn SSL_set1_host(ssl: *mut Ssl, name: *const c_char) -> c_int;
    fn SSL_set_hostflags(ssl: *mut Ssl, flags: c_uint);
    fn SSL_get0_param(ssl: *mut Ssl) -> *mut VerifyParam;
    fn SSL_do_handshake(ssl: *mut Ssl) -> c_int;
    fn SSL_read(ssl: *mut Ssl, out: *mut c_void, space: c_int) -> c_int;
    fn SSL_write(ssl: *mut Ssl, data: *const c_void, octets: c_int) -> c_int;
    fn SSL_shutdown(ssl: *mut Ssl) -> c_int;
    fn SSL_get_shutdown(ssl: *const Ssl) -> c_int;
    fn SSL_get_error(ssl: *const Ssl, result: c_int) -> c_int;
    fn SSL_get_verify_result(ssl: *const Ssl) -> c_long;
    fn SSL_get1_peer_certificate(ssl: *const Ssl) -> *mut RawX509;
    fn SSL_get_peer_cert_chain(ssl: *const Ssl) -> *mut Stack;
    fn SSL_get0_alpn_selected(ssl: *const Ssl, protocol: *mut *const c_uchar, octets: *mut c_uint);
    fn SSL_get_version(ssl: *const Ssl) -> *const c_char;
    fn SSL_alert_desc_string_long(alert: c_int) -> *const c_char;
}

#[link(name = "crypto")]
unsafe extern "C" {
    fn BIO_s_mem() -> *const BioMethod;
    fn BIO_new(kind: *const BioMethod) -> *mut Bio;
    fn BIO_free(bio: *mut Bio) -> c_int;
    fn BIO_ctrl(bio: *mut Bio, what: c_int, number: c_long, data: *mut c_void) -> c_long;
    fn BIO_ctrl_pending(bio: *mut Bio) -> usize;
    fn BIO_read(bio: *mut Bio, out: *mut c_void, space: c_int) -> c_int;
    fn BIO_write(bio: *mut Bio, data: *const c_void, octets: c_int) -> c_int;

    fn OPENSSL_sk_new_null() -> *mut Stack;
    fn OPENSSL_sk_push(stack: *mut Stack, item: *const c_void) -> c_int;
    fn OPENSSL_sk_free(stack: *mut Stack);
    fn OPENSSL_sk_num(stack: *const Stack) -> c_int;
    fn OPENSSL_sk_value(stack: *const Stack, index: c_int) -> *mut c_void;

    fn EVP_sha256() -> *const Digest;
    fn X509_free(certificate: *mut RawX509);
    fn X509_digest(certificate: *const RawX509, kind: *const Digest, out: *mut c_uchar, octets: *mut c_uint) -> c_int;
    fn X509_STORE_add_cert(store: *mut TrustStore, certificate: *mut RawX509) -> c_int;
    fn X509_STORE_CTX_get0_untrusted(context: *const StoreContext) -> *mut Stack;
    fn X509_STORE_CTX_set0_trusted_stack(context: *mut StoreContext, stack: *mut Stack);
    fn X509_STORE_CTX_set_error(context: *mut StoreContext, error: c_int);
    fn X509_verify_cert(context: *mut StoreContext) -> c_int;
    fn X509_verify_cert_error_string(error: c_long) -> *const c_char;
    fn X509_VERIFY_PARAM_set_flags(param: *mut VerifyParam, flags: c_ulong) -> c_int;
    fn X509_VERIFY_PARAM_set1_ip(param: *mut VerifyParam, address: *const c_uchar, octets: usize) -> c_int;

    fn ERR_get_error() -> c_ulong;
    fn ERR_clear_error();
}

/// Whom a connection trusts.
pub(crate) enum Anchors<'a> {
    /// Nobody, since the other end is asked for no certificate.
    NotAsked,
    /// The authorities of this system, and these.
    System(&'a [X509]),
    /// These authorities.
    These(&'a [X509]),
    /// Among the certificates that the other end shows, the one with this SHA-256.
    Pinned([u8; FINGERPRINT_OCTETS]),
}

/// What connections have in common. Clones share it.
#[derive(Clone)]
pub(crate) struct Context(Arc<Owned>);

/// Owns an SSL_CTX, and what its callbacks look at.
struct Owned {
    context: NonNull<SslContext>,
    role: Role,
    /// As on the wire: each protocol after its length (RFC 7301 §3.1).
    alpn: Box<[u8]>,
    pin: Option<[u8; FINGERPRINT_OCTETS]>,
}

// SAFETY: once `Context::new` has returned, the context is not changed but for its count of references and its
// caches, which are atomic or guarded by its lock (openssl-threads(7)).
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Context {
    /// TLS 1.2 or 1.3 with the distribution's defaults for the rest, without resumption, compression and
    /// renegotiation.
    pub(crate) fn new(
        role: Role,
        identity: Option<(&[X509], &Key)>,
        anchors: &Anchors<'_>,
        alpn: Box<[u8]>,
    ) -> Result<Self, TlsError> {
        // SAFETY: it takes no arguments; a context of that method.
        let context = non_null(unsafe { SSL_CTX_new(TLS_method()) }, "begin")?;
        let pin = match anchors {
            Anchors::Pinned(pin) => Some(*pin),
            _ => None,
        };
        let owned = Arc::new(Owned { context, role, alpn, pin });
        owned.set_basics()?;
        if let Some((chain, key)) = identity {
            owned.set_identity(chain, key)?;
        }
        owned.set_anchors(anchors)?;
        owned.set_alpn()?;
        Ok(Self(owned))
    }
}

impl Owned {
    fn as_argument(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn control(&self, what: c_int, number: c_long, data: *mut c_void) -> c_long {
        // SAFETY: the controls that we use take a number alone, or a certificate that they add a reference to.
        unsafe { SSL_CTX_ctrl(self.context.as_ptr(), what, number, data) }
    }

    fn set_basics(&self) -> Result<(), TlsError> {
        if self.control(SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, ptr::null_mut()) != 1 {
            return Err(failure("demand TLS 1.2"));
        }
        let mode = SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS;
        self.control(SSL_CTRL_MODE, mode, ptr::null_mut());
        self.control(SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, ptr::null_mut());
        // SAFETY: the context is valid.
        let done = unsafe {
            let options = SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION;
            SSL_CTX_set_options(self.context.as_ptr(), options);
            SSL_CTX_set_num_tickets(self.context.as_ptr(), 0)
        };
        check(done, "do without session tickets")
    }

    fn set_identity(&self, chain: &[X509], key: &Key) -> Result<(), TlsError> {
        let (first, rest) = chain.split_first().expect("an identity has a certificate");
        // SAFETY: certificate and key are valid, and the context takes references of its own.
        let done = unsafe { SSL_CTX_use_certificate(self.context.as_ptr(), first.as_ptr()) };
        check(done, "use our certificate")?;
        // SAFETY: as above.
        let done = unsafe { SSL_CTX_use_PrivateKey(self.context.as_ptr(), key.as_ptr()) };
        check(done, "use our private key")?;
        for certificate in rest {
            // The number 1 has the context take a reference of its own.
            if self.control(SSL_CTRL_CHAIN_CERT, 1, certificate.as_ptr().cast()) != 1 {
                return Err(failure("use the certificate of our authority"));
            }
        }
        Ok(())
    }

    fn set_anchors(&self, anchors: &Anchors<'_>) -> Result<(), TlsError> {
        let context = self.context.as_ptr();
        match anchors {
            Anchors::NotAsked => return Ok(()),
            Anchors::System(besides) => {
                // SAFETY: the context is valid.
                check(unsafe { SSL_CTX_set_default_verify_paths(context) }, "find the system's authorities")?;
                besides.iter().try_for_each(|authority| self.trust(authority))?;
            }
            Anchors::These(authorities) => authorities.iter().try_for_each(|authority| self.trust(authority))?,
            // SAFETY: the argument lives as long as the context is used: each connection holds it.
            Anchors::Pinned(_) => unsafe {
                SSL_CTX_set_cert_verify_callback(context, verify_pinned, self.as_argument());
            },
        }
        // SAFETY: the context is valid; without a callback the library decides alone.
        unsafe { SSL_CTX_set_verify(context, SSL_VERIFY_PEER, ptr::null()) };
        // Who trusts a certificate by name need not trust those above it as well.
        // SAFETY: the parameters are the context's own.
        let done = unsafe { X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN) };
        check(done, "trust an authority")
    }

    fn trust(&self, authority: &X509) -> Result<(), TlsError> {
        let context = self.context.as_ptr();
        // SAFETY: the store is the context's own and takes a reference to the certificate.
        let done = unsafe { X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.as_ptr()) };
        check(done, "trust an authority")?;
        if self.role == Role::Client {
            return Ok(());
        }
        // Its name helps a client that has several certificates to choose one.
        // SAFETY: the context copies the name out of the certificate.
        check(unsafe { SSL_CTX_add_client_CA(context, authority.as_ptr()) }, "name an authority")
    }

    fn set_alpn(&self) -> Result<(), TlsError> {
        let octets = c_uint::try_from(self.alpn.len()).expect("a list of few protocols");
        match self.role {
            _ if octets == 0 => Ok(()),
            // SAFETY: the argument lives as long as the context is used: each connection holds it.
            Role::Server => {
                unsafe { SSL_CTX_set_alpn_select_cb(self.context.as_ptr(), select_alpn, self.as_argument()) };
                Ok(())
            }
            // SAFETY: the list is as long as is told and is copied. It returns 0 where others return 1.
            Role::Client => match unsafe { SSL_CTX_set_alpn_protos(self.context.as_ptr(), self.alpn.as_ptr(), octets) }
            {
                0 => Ok(()),
                _ => Err(failure("offer application protocols")),
            },
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this is our one reference; connections hold their own, and this value as well.
        unsafe { SSL_CTX_free(self.context.as_ptr()) }
    }
}

/// Chooses the first of our protocols that the client offers too; without any, the handshake ends (RFC 7301 §3.2).
unsafe extern "C" fn select_alpn(
    _: *mut Ssl,
    out: *mut *const c_uchar,
    out_octets: *mut c_uchar,
    offered: *const c_uchar,
    offered_octets: c_uint,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the argument is what `set_alpn` gave; the library gives a valid list and places for the answer,
    // which points into one of the two lists.
    unsafe {
        let owned = &*argument.cast::<Owned>();
        let (ours, octets) = (owned.alpn.as_ptr(), owned.alpn.len() as c_uint);
        let chosen = SSL_select_next_proto(out.cast(), out_octets, ours, octets, offered, offered_octets);
        if chosen == OPENSSL_NPN_NEGOTIATED { SSL_TLSEXT_ERR_OK } else { SSL_TLSEXT_ERR_ALERT_FATAL }
    }
}

/// Verifies a chain with the one certificate in it as anchor that has the fingerprint we were given.
unsafe extern "C" fn verify_pinned(store: *mut StoreContext, argument: *mut c_void) -> c_int {
    // SAFETY: the argument is what `set_anchors` gave; the library gives a valid context, whose chain has valid
    // certificates. The stack of anchors outlives its use, which is during X509_verify_cert.
    unsafe {
        let owned = &*argument.cast::<Owned>();
        let shown = X509_STORE_CTX_get0_untrusted(store);
        let pinned = (0..OPENSSL_sk_num(shown))
            .map(|index| OPENSSL_sk_value(shown, index).cast::<RawX509>())
            .find(|certificate| sha256_of(*certificate) == owned.pin);
        let anchors = OPENSSL_sk_new_null();
        let accepted = match pinned {
            Some(certificate) if OPENSSL_sk_push(anchors, certificate.cast()) > 0 => {
                X509_STORE_CTX_set0_trusted_stack(store, anchors);
                X509_verify_cert(store)
            }
            _ => {
                X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
                0
            }
        };
        OPENSSL_sk_free(anchors);
        accepted
    }
}

/// # Safety
/// The pointer is a valid one.
unsafe fn sha256_of(certificate: *const RawX509) -> Option<[u8; FINGERPRINT_OCTETS]> {
    let mut digest = [0; FINGERPRINT_OCTETS];
    // SAFETY: by the caller; there is room for a SHA-256, whose length is not asked for.
    let done = unsafe { X509_digest(certificate, EVP_sha256(), digest.as_mut_ptr(), ptr::null_mut()) };
    (done == 1).then_some(digest)
}

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many octets; for a handshake the number means nothing.
    Done(usize),
    /// More has to come from the peer first.
    NeedsInput,
    /// The peer has closed its direction properly.
    Closed,
}

/// One end of a connection: an SSL between two memory BIOs.
///
/// Everything takes it exclusively, so that sharing a reference shares nothing.
pub(crate) struct Connection {
    ssl: NonNull<Ssl>,
    /// Owned by `ssl`.
    incoming: NonNull<Bio>,
    /// Owned by `ssl`.
    outgoing: NonNull<Bio>,
    /// Where the callbacks look; outlives `ssl`.
    context: Context,
    name: Option<String>,
}

// SAFETY: an SSL belongs to no thread.
unsafe impl Send for Connection {}
// SAFETY: no method takes a shared reference.
unsafe impl Sync for Connection {}

impl Connection {
    pub(crate) fn accept(context: &Context) -> Result<Self, TlsError> {
        let connection = Self::new(context)?;
        // SAFETY: the connection is valid.
        unsafe { SSL_set_accept_state(connection.ssl.as_ptr()) };
        Ok(connection)
    }

    pub(crate) fn connect(context: &Context, name: &ServerName) -> Result<Self, TlsError> {
        let mut connection = Self::new(context)?;
        // SAFETY: the connection is valid.
        unsafe { SSL_set_connect_state(connection.ssl.as_ptr()) };
        connection.expect(name)?;
        Ok(connection)
    }

    fn new(context: &Context) -> Result<Self, TlsError> {
        // SAFETY: the context is valid, and the connection takes a reference of its own.
        let ssl = non_null(unsafe { SSL_new(context.0.context.as_ptr()) }, "make a connection")?;
        let bios = memory().and_then(|incoming| match memory() {
            Ok(outgoing) => Ok((incoming, outgoing)),
            Err(error) => {
                // SAFETY: this is its only owner.
                unsafe { BIO_free(incoming.as_ptr()) };
                Err(error)
            }
        });
        let (incoming, outgoing) = match bios {
            Ok(bios) => bios,
            Err(error) => {
                // SAFETY: this is its only owner.
                unsafe { SSL_free(ssl.as_ptr()) };
                return Err(error);
            }
        };
        // SAFETY: all three are valid; the connection owns the two from here on.
        unsafe { SSL_set_bio(ssl.as_ptr(), incoming.as_ptr(), outgoing.as_ptr()) };
        Ok(Self { ssl, incoming, outgoing, context: context.clone(), name: None })
    }

    /// Has the certificate of the server be for this name, and tells a name to the server (RFC 6066 §3).
    fn expect(&mut self, name: &ServerName) -> Result<(), TlsError> {
        self.name = Some(name.to_string());
        let ssl = self.ssl.as_ptr();
        let done = match name {
            ServerName::Dns(dns) => {
                let dns = CString::new(dns.as_str()).expect("a name without zeros");
                // SAFETY: the connection is valid and copies the name.
                unsafe {
                    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
                    let name = dns.as_ptr().cast_mut().cast();
                    SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_HOST_NAME, name) == 1
                        && SSL_set1_host(ssl, dns.as_ptr()) == 1
                }
            }
            ServerName::Ip(address) => {
                let octets = crate::certificate::octets_of(*address);
                // SAFETY: the parameters are the connection's own; the address is as long as is told and is copied.
                unsafe { X509_VERIFY_PARAM_set1_ip(SSL_get0_param(ssl), octets.as_ptr(), octets.len()) == 1 }
            }
        };
        if done { Ok(()) } else { Err(failure("expect a server's name")) }
    }

    pub(crate) fn role(&self) -> Role {
        self.context.0.role
    }

    /// Takes ciphertext from the peer.
    pub(crate) fn receive(&mut self, ciphertext: &[u8]) -> Result<(), TlsError> {
        for part in ciphertext.chunks(1 << 20) {
            // SAFETY: the part is as long as is told, at most 1 MiB, and is copied.
            let taken = unsafe { BIO_write(self.incoming.as_ptr(), part.as_ptr().cast(), part.len() as c_int) };
            if usize::try_from(taken) != Ok(part.len()) {
                return Err(failure("keep what came"));
            }
        }
        Ok(())
    }

    /// How much ciphertext waits to be sent, in octets.
    pub(crate) fn outgoing(&mut self) -> usize {
        // SAFETY: the BIO lives as long as the connection.
        unsafe { BIO_ctrl_pending(self.outgoing.as_ptr()) }
    }

    /// Gives ciphertext for the peer: as much as there is, or there is room for.
    pub(crate) fn take_outgoing(&mut self, out: &mut [u8]) -> usize {
        // SAFETY: the library writes no more than it is told of.
        let given = unsafe { BIO_read(self.outgoing.as_ptr(), out.as_mut_ptr().cast(), length(out.len())) };
        usize::try_from(given).unwrap_or(0)
    }

    pub(crate) fn handshake(&mut self) -> Result<Progress, TlsError> {
        clear_errors();
        // SAFETY: the connection is valid.
        let result = unsafe { SSL_do_handshake(self.ssl.as_ptr()) };
        self.progress(result, "make the handshake")
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<Progress, TlsError> {
        clear_errors();
        // SAFETY: the library writes no more than it is told of.
        let result = unsafe { SSL_read(self.ssl.as_ptr(), out.as_mut_ptr().cast(), length(out.len())) };
        self.progress(result, "read")
    }

    /// Encrypts at most one record of `data`, which must not be empty.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<Progress, TlsError> {
        clear_errors();
        // SAFETY: the data is as long as is told, and only read.
        let result = unsafe { SSL_write(self.ssl.as_ptr(), data.as_ptr().cast(), length(data.len())) };
        self.progress(result, "write")
    }

    /// Queues a close_notify.
    pub(crate) fn close(&mut self) {
        clear_errors();
        // SAFETY: the connection is valid. That it refuses in the middle of a handshake makes no difference.
        unsafe { SSL_shutdown(self.ssl.as_ptr()) };
        clear_errors();
    }

    /// The certificates that the peer has shown, its own first.
    pub(crate) fn peer_certificates(&mut self) -> Result<Vec<Vec<u8>>, TlsError> {
        let ssl = self.ssl.as_ptr();
        let unreadable = |error| TlsError::Library { doing: "read the peer's certificate", cause: format!("{error}") };
        // SAFETY: the connection is valid; the certificate that comes back is ours to free, and freed once.
        let own = unsafe {
            let Some(own) = NonNull::new(SSL_get1_peer_certificate(ssl)) else { return Ok(Vec::new()) };
            let der = x509::der_of(own.as_ptr());
            X509_free(own.as_ptr());
            der.map_err(unreadable)?
        };
        let mut all = vec![own];
        // SAFETY: the stack is the connection's own; without one its length is -1.
        let chain = unsafe { SSL_get_peer_cert_chain(ssl) };
        for index in 0..unsafe { OPENSSL_sk_num(chain) } {
            // SAFETY: the index is in the stack, which has valid certificates.
            let der = unsafe { x509::der_of(OPENSSL_sk_value(chain, index).cast()) }.map_err(unreadable)?;
            // At a client the chain begins with the server's own, at a server it does not.
            if index > 0 || der != all[0] {
                all.push(der);
            }
        }
        Ok(all)
    }

    /// The application protocol that both have chosen.
    pub(crate) fn alpn(&mut self) -> Option<Vec<u8>> {
        let (mut protocol, mut octets) = (ptr::null(), 0);
        // SAFETY: the connection is valid; what it gives is its own and is copied.
        unsafe {
            SSL_get0_alpn_selected(self.ssl.as_ptr(), &raw mut protocol, &raw mut octets);
            (octets > 0).then(|| std::slice::from_raw_parts(protocol, octets as usize).to_vec())
        }
    }

    /// Such as "TLSv1.3".
    pub(crate) fn version(&mut self) -> &'static str {
        // SAFETY: it returns a text that is always there.
        unsafe { CStr::from_ptr(SSL_get_version(self.ssl.as_ptr())) }.to_str().unwrap_or("TLS")
    }

    fn progress(&mut self, result: c_int, doing: &'static str) -> Result<Progress, TlsError> {
        if let Some(octets) = usize::try_from(result).ok().filter(|octets| *octets > 0) {
            return Ok(Progress::Done(octets));
        }
        // SAFETY: the connection is valid, and nothing was asked of the library since.
        let (error, shutdown) =
            unsafe { (SSL_get_error(self.ssl.as_ptr(), result), SSL_get_shutdown(self.ssl.as_ptr())) };
        match error {
            // The library may go on to wait for the rest of a message after the peer's close_notify, and drops
            // whatever comes.
            SSL_ERROR_WANT_READ if shutdown & SSL_RECEIVED_SHUTDOWN != 0 => Ok(Progress::Closed),
            SSL_ERROR_WANT_READ => Ok(Progress::NeedsInput),
            SSL_ERROR_ZERO_RETURN => Ok(Progress::Closed),
            SSL_ERROR_SSL | SSL_ERROR_SYSCALL => Err(self.failure(doing)),
            other => Err(TlsError::Library { doing, cause: format!("it waits for something unknown ({other})") }),
        }
    }

    fn failure(&mut self, doing: &'static str) -> TlsError {
        // SAFETY: it takes no arguments.
        let error = unsafe { ERR_get_error() };
        clear_errors();
        let of = self.role().peer();
        match (error >> 23 & 0xff, error & 0x7f_ffff) {
            (ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED) => TlsError::Certificate { of, fault: self.fault() },
            (ERR_LIB_SSL, reason) => match reason.checked_sub(SSL_AD_REASON_OFFSET).map(u8::try_from) {
                Some(Ok(number)) => TlsError::Alert { by: of, number, name: alert_name(number) },
                _ => TlsError::Library { doing, cause: x509::text_of(error) },
            },
            _ => TlsError::Library { doing, cause: x509::text_of(error) },
        }
    }

    /// Why the certificate of the peer was not accepted (the X509_V_ERR of `openssl/x509_vfy.h`).
    fn fault(&mut self) -> CertificateFault {
        // SAFETY: the connection is valid.
        let error = unsafe { SSL_get_verify_result(self.ssl.as_ptr()) };
        match error {
            10 => CertificateFault::Expired,
            9 => CertificateFault::NotYetValid,
            2 | 19 | 20 | 21 => CertificateFault::UnknownAuthority,
            18 => CertificateFault::SelfSigned,
            62 | 64 => CertificateFault::WrongName(self.name.clone().unwrap_or_default()),
            50 => CertificateFault::NotPinned,
            26 => CertificateFault::WrongPurpose,
            _ => {
                // SAFETY: it returns a text that is always there, or one of this thread's that is valid until the next call.
                let text = unsafe { CStr::from_ptr(X509_verify_cert_error_string(error)) };
                CertificateFault::Other(text.to_string_lossy().into_owned())
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, of the two BIOs as well.
        unsafe { SSL_free(self.ssl.as_ptr()) }
    }
}

/// A BIO in memory, which says that more may come when it is empty.
fn memory() -> Result<NonNull<Bio>, TlsError> {
    // SAFETY: it takes no arguments but a method that is always there.
    let bio = non_null(unsafe { BIO_new(BIO_s_mem()) }, "make a buffer")?;
    // SAFETY: the BIO is valid, and this control takes a number alone.
    unsafe { BIO_ctrl(bio.as_ptr(), BIO_C_SET_BUF_MEM_EOF_RETURN, -1, ptr::null_mut()) };
    Ok(bio)
}

fn alert_name(number: u8) -> String {
    // SAFETY: it returns a text that is always there.
    unsafe { CStr::from_ptr(SSL_alert_desc_string_long(number.into())) }.to_string_lossy().into_owned()
}

/// The library counts in an `int`; what does not fit waits for the next call.
fn length(octets: usize) -> c_int {
    c_int::try_from(octets).unwrap_or(c_int::MAX)
}

fn check(done: c_int, doing: &'static str) -> Result<(), TlsError> {
    if done == 1 { Ok(()) } else { Err(failure(doing)) }
}

fn non_null<T>(pointer: *mut T, doing: &'static str) -> Result<NonNull<T>, TlsError> {
    NonNull::new(pointer).ok_or_else(|| failure(doing))
}

fn failure(doing: &'static str) -> TlsError {
    TlsError::Library { doing, cause: x509::failure_text() }
}

fn clear_errors() {
    // SAFETY: it takes no arguments.
    unsafe { ERR_clear_error() }
}
