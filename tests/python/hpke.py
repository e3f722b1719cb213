#!/usr/bin/python3
"""HPKE (RFC 9180) in base mode with secret export, over DHKEM(X25519, HKDF-SHA256) and X-Wing (draft-connolly-cfrg-xwing-kem;
in HPKE by draft-ietf-hpke-pq as MLKEM768-X25519). Only HKDF-SHA256 as KDF, and no encryption.

Needs the package `cryptography` (Debian: python3-cryptography), for X25519 alone.

    hpke.py check FILE          computes again the published values in FILE, `hpke_vectors.json` beside this script
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mlkem

HKDF_SHA256 = 1
AES_256_GCM = 2
FIELD_PRIME = 2**255 - 19


class NoSecret(Exception):
    """An encapsulated key of low order, which gives the same secret to everybody."""


# Labelled HKDF-SHA-256, RFC 9180, section 4.


def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    output, block = b"", b""
    while len(output) < length:
        block = hmac.digest(prk, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:length]


def labelled_extract(suite_id, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def labelled_expand(suite_id, prk, label, info, length):
    return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info, length)


# X25519, RFC 7748.


def x25519_public(private_key):
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519(private_key, public_key):
    try:
        return X25519PrivateKey.from_private_bytes(private_key).exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:  # The shared secret is zero.
        raise NoSecret from None


def is_x25519_public(data):
    """Whether it is the canonical encoding of a point that is not of low order.

    Every private key is a multiple of 8 and smaller than the large primes, so just the points of low order give zero.
    """
    if len(data) != 32 or int.from_bytes(data, "little") >= FIELD_PRIME:
        return False
    try:
        x25519(bytes(32), data)
    except NoSecret:
        return False
    return True


# KEMs. Each has its number in HPKE's registry, the sizes of what travels, and for a private key of 32 bytes:
# `public`, `encapsulate` (with the randomness given) and `decapsulate`. `is_public` tells whether bytes are a public key.


class DhkemX25519:
    """RFC 9180, section 4.1. The randomness is the ephemeral private key."""

    ID = 0x0020
    PUBLIC_LEN, ENCAPSULATED_LEN, RANDOMNESS_LEN = 32, 32, 32

    public = staticmethod(x25519_public)
    is_public = staticmethod(is_x25519_public)

    @classmethod
    def encapsulate(cls, public_key, randomness):
        encapsulated = x25519_public(randomness)
        return encapsulated, cls.extract_and_expand(x25519(randomness, public_key), encapsulated + public_key)

    @classmethod
    def decapsulate(cls, private_key, encapsulated):
        context = encapsulated + x25519_public(private_key)
        return cls.extract_and_expand(x25519(private_key, encapsulated), context)

    @classmethod
    def extract_and_expand(cls, dh, context):
        suite_id = b"KEM" + struct.pack(">H", cls.ID)
        prk = labelled_extract(suite_id, b"", b"eae_prk", dh)
        return labelled_expand(suite_id, prk, b"shared_secret", context, 32)


class XWing:
    """The private key is the seed; of the randomness, 32 bytes are for ML-KEM-768 and the rest is the ephemeral private key."""

    ID = 0x647A
    PUBLIC_LEN, ENCAPSULATED_LEN, RANDOMNESS_LEN = 1216, 1120, 64
    LABEL = b"\\.//^\\"

    @classmethod
    def public(cls, private_key):
        ml, x = cls.expanded(private_key)
        return ml.public_key + x25519_public(x)

    @classmethod
    def encapsulate(cls, public_key, randomness):
        ml_public, x_public = public_key[: mlkem.PUBLIC_KEY_LEN], public_key[mlkem.PUBLIC_KEY_LEN :]
        ml_ciphertext, ml_secret = mlkem.encapsulate(ml_public, randomness[:32])
        x_ciphertext = x25519_public(randomness[32:])
        x_secret = x25519(randomness[32:], x_public)
        return ml_ciphertext + x_ciphertext, cls.combine(ml_secret, x_secret, x_ciphertext, x_public)

    @classmethod
    def decapsulate(cls, private_key, encapsulated):
        ml, x = cls.expanded(private_key)
        ml_ciphertext, x_ciphertext = encapsulated[: mlkem.CIPHERTEXT_LEN], encapsulated[mlkem.CIPHERTEXT_LEN :]
        x_secret = x25519(x, x_ciphertext)
        return cls.combine(ml.decapsulate(ml_ciphertext), x_secret, x_ciphertext, x25519_public(x))

    @staticmethod
    def expanded(private_key):
        seed = hashlib.shake_256(private_key).digest(96)
        return mlkem.PrivateKey(seed[:64]), seed[64:]

    @classmethod
    def combine(cls, ml_secret, x_secret, x_ciphertext, x_public):
        return hashlib.sha3_256(ml_secret + x_secret + x_ciphertext + x_public + cls.LABEL).digest()

    @staticmethod
    def is_public(data):
        return mlkem.is_public_key(data[: mlkem.PUBLIC_KEY_LEN]) and is_x25519_public(data[mlkem.PUBLIC_KEY_LEN :])


KEMS = {kem.ID: kem for kem in (DhkemX25519, XWing)}


# Base mode, RFC 9180, section 5.1, and export, section 5.3.


def key_schedule(kem, shared_secret, info, aead=AES_256_GCM):
    """The exporter secret, and the identifier of the suite that it is used with."""
    suite_id = b"HPKE" + struct.pack(">HHH", kem.ID, HKDF_SHA256, aead)
    psk_id_hash = labelled_extract(suite_id, b"", b"psk_id_hash", b"")
    info_hash = labelled_extract(suite_id, b"", b"info_hash", info)
    secret = labelled_extract(suite_id, shared_secret, b"secret", b"")
    return labelled_expand(suite_id, secret, b"exp", b"\0" + psk_id_hash + info_hash, 32), suite_id


def export(exporter, context, length=32):
    exporter_secret, suite_id = exporter
    return labelled_expand(suite_id, exporter_secret, b"sec", context, length)


def send_export(kem, public_key, info, context, randomness):
    """The encapsulated key and the exported secret, 32 bytes."""
    encapsulated, shared_secret = kem.encapsulate(public_key, randomness)
    return encapsulated, export(key_schedule(kem, shared_secret, info), context)


def receive_export(kem, private_key, encapsulated, info, context):
    return export(key_schedule(kem, kem.decapsulate(private_key, encapsulated), info), context)


# The published values.


def expected(vectors):
    """Yields a name, the value in the file and the value computed here."""
    for case in vectors["ml-kem-768"]:
        name, value = case["source"], {key: bytes.fromhex(text) for key, text in case.items() if key != "source"}
        key = mlkem.PrivateKey(value["seed"])
        yield name + ": public key", value["ek"], key.public_key
        yield name + ": shared secret", value["K"], key.decapsulate(value["c"])
    for case in vectors["ml-kem-768 public keys"]:
        yield case["source"], b"refused", b"" if mlkem.is_public_key(bytes.fromhex(case["ek"])) else b"refused"
    for case in vectors["x-wing"]:
        name, value = case["source"], {key: bytes.fromhex(text) for key, text in case.items() if key != "source"}
        yield name + ": public key", value["pk"], XWing.public(value["sk"])
        encapsulated, secret = XWing.encapsulate(value["pk"], value["eseed"])
        yield name + ": encapsulated key", value["ct"], encapsulated
        yield name + ": shared secret", value["ss"], secret
        yield name + ": decapsulated", value["ss"], XWing.decapsulate(value["sk"], value["ct"])
    for case in vectors["hpke"]:
        name, kem = case["source"], KEMS[case["kem_id"]]
        value = {key: bytes.fromhex(text) for key, text in case.items() if isinstance(text, str) and key != "source"}
        yield name + ": public key", value["pkRm"], kem.public(value["skRm"])
        encapsulated, secret = kem.encapsulate(value["pkRm"], value["randomness"])
        yield name + ": encapsulated key", value["enc"], encapsulated
        yield name + ": shared secret", value["shared_secret"], secret
        yield name + ": decapsulated", secret, kem.decapsulate(value["skRm"], encapsulated)
        exporter = key_schedule(kem, secret, value["info"], case["aead_id"])
        yield name + ": exporter secret", value["exporter_secret"], exporter[0]
        for exported in case["exports"]:
            wanted, context = bytes.fromhex(exported["exported_value"]), bytes.fromhex(exported["exporter_context"])
            yield f"{name}: exported for {context}", wanted, export(exporter, context, exported["L"])


def main():
    _, command, path = sys.argv
    assert command == "check"
    count = 0
    for name, wanted, found in expected(json.loads(pathlib.Path(path).read_text())):
        if wanted != found:
            sys.exit(f"{name}: {found.hex()} instead of {wanted.hex()}")
        count += 1
    print(f"{count} values agree")


if __name__ == "__main__":
    main()
