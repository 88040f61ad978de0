"""A TLS 1.3 client that cuts its messages into records as no library does.

It speaks in turns over its standard input and output: each turn is its length (4 octets, big-endian) and as much
ciphertext. The first turn is ours; in the handshake there may be nothing to say. Afterwards each argument is a turn
of ours, of steps that "+" joins:

  TYPE:HEX  a record of this type (RFC 8446 5.1: 21 alert, 22 handshake, 23 application data)
  rekey     from here on by the next key, as after a KeyUpdate (RFC 8446 7.2)
  hear:N    first the peer's turns, until they have brought N octets of plaintext, which are then all of this turn
"""

import ctypes
import hashlib
import hmac
import ssl
import struct
import sys
import tempfile

HASH, KEY_OCTETS, IV_OCTETS, TAG_OCTETS, GET_TAG = hashlib.sha384, 32, 12, 16, 0x10

crypto = ctypes.CDLL("libcrypto.so.3")
crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p


def say(octets):
    sys.stdout.buffer.write(struct.pack(">I", len(octets)) + octets)
    sys.stdout.buffer.flush()


def listen():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        sys.exit("the other side is silent")
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0])


def expand(secret, label, octets):
    """HKDF-Expand-Label without context (RFC 8446 7.1), of one block."""
    label = b"tls13 " + label
    info = struct.pack(">HB", octets, len(label)) + label + b"\0"
    return hmac.new(secret, info + b"\1", HASH).digest()[:octets]


def encrypt(key, nonce, head, plain):
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    octets = ctypes.c_int()
    out, tag = ctypes.create_string_buffer(len(plain)), ctypes.create_string_buffer(TAG_OCTETS)
    done = [
        crypto.EVP_EncryptInit_ex(context, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce),
        crypto.EVP_EncryptUpdate(context, None, ctypes.byref(octets), head, len(head)),
        crypto.EVP_EncryptUpdate(context, out, ctypes.byref(octets), plain, len(plain)),
        crypto.EVP_EncryptFinal_ex(context, None, ctypes.byref(octets)),
        crypto.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG_OCTETS, tag),
    ]
    assert done == [1] * 5, done
    crypto.EVP_CIPHER_CTX_free(context)
    return out.raw + tag.raw


class Writer:
    """Our direction, after the handshake."""

    def __init__(self, secret):
        self.take(secret)

    def take(self, secret):
        self.secret, self.number = secret, 0
        self.key, self.iv = expand(secret, b"key", KEY_OCTETS), expand(secret, b"iv", IV_OCTETS)

    def rekey(self):
        self.take(expand(self.secret, b"traffic upd", HASH().digest_size))

    def record(self, kind, contents):
        nonce = bytes(a ^ b for a, b in zip(self.iv, self.number.to_bytes(IV_OCTETS, "big")))
        self.number += 1
        plain = contents + bytes([kind])
        head = b"\x17\x03\x03" + struct.pack(">H", len(plain) + TAG_OCTETS)
        return head + encrypt(self.key, nonce, head, plain)


settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
settings.minimum_version = ssl.TLSVersion.TLSv1_3
# The library opens the file here and now, so that nothing is left of it however this ends.
with tempfile.NamedTemporaryFile(prefix="privnet-test-") as named:
    settings.keylog_filename = named.name
    keys = open(named.name)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
session = settings.wrap_bio(incoming, outgoing)
while True:
    try:
        session.do_handshake()
        break
    except ssl.SSLWantReadError:
        say(outgoing.read())
        incoming.write(listen())
say(outgoing.read())
assert session.cipher()[0] == "TLS_AES_256_GCM_SHA384", session.cipher()
logged = [line.split() for line in keys]
(secret,) = [bytes.fromhex(line[2]) for line in logged if line[:1] == ["CLIENT_TRAFFIC_SECRET_0"]]
writer = Writer(secret)

for turn in sys.argv[1:]:
    said = b""
    for step in turn.split("+"):
        name, _, value = step.partition(":")
        if name == "rekey":
            writer.rekey()
        elif name == "hear":
            while len(said) < int(value):
                try:
                    said += session.read(int(value) - len(said))
                except ssl.SSLWantReadError:
                    incoming.write(listen())
        else:
            said += writer.record(int(name), bytes.fromhex(value))
    say(said)
