#!/usr/bin/env python3
"""Checks the vectors in a file against docs/spec/derivation.md, with nothing but hashlib and hmac, and for public keys the
HPKE beside this file.

usage: derivation.py derivation-v1.json

Prints how many values were compared; exits 1 on the first that differs.
"""

import hashlib
import hmac
import json
import pathlib
import sys

import hpke

REGISTERS = ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER", "MROWNERCONFIG", "MRSERVICETD"]
ATTRIBUTES_MASK = 0xFF | 1 << 28 | 1 << 29 | 1 << 63
XFAM_MASK = 0


HASHES = {"hkdf-sha256": "sha256", "hkdf-sha384": "sha384", "x25519": "sha256", "x-wing": "sha256"}
KEMS = {"x25519": hpke.DhkemX25519, "x-wing": hpke.XWing}


def hkdf(ikm, info, length, digest="sha256"):
    """RFC 5869 with an empty salt."""
    prk = hmac.new(bytes(hashlib.new(digest).digest_size), ikm, digest).digest()
    okm, block, number = b"", b"", 1
    while len(okm) < length:
        block = hmac.new(prk, block + info + bytes([number]), digest).digest()
        okm, number = okm + block, number + 1
    return okm[:length]


def prefixed(value):
    return len(value).to_bytes(4, "big") + value


def encode(label, parts=()):
    named = (prefixed(name.encode()) + prefixed(value) for name, value in parts)
    return prefixed(label.encode()) + b"".join(named)


def root_of(case):
    parts = [
        ("custody", case["custody"].encode()),
        ("authority", bytes.fromhex(case["authority"])),
        ("epoch", case["epoch"].to_bytes(4, "big")),
    ]
    if case["custody"] == "hardware":
        parts += [("kind", case["kind"].encode()), ("request", bytes.fromhex(case["request"]))]
    else:
        parts += [("ring", bytes.fromhex(case["ring"])), ("key", bytes.fromhex(case["key"]))]
    return hkdf(bytes.fromhex(case["secret"]), encode("bulla/provider/root/v1", parts), 32)


def root_id(root):
    return hkdf(root, encode("bulla/provider/root-id/v1"), 16)


def commitment(root):
    return hkdf(root, encode("bulla/provider/root-commitment/v1"), 32)


def legacy_seal_key(root):
    return hkdf(root, encode("bulla legacy v0"), 16)


def legacy_key(seal_key, registers):
    return hashlib.sha256(seal_key + b"".join(registers)).digest()


def bound(binding, guest):
    """The parts that tell what a key is bound to."""
    kind, value = (binding, {}) if isinstance(binding, str) else next(iter(binding.items()))
    if kind == "owner":
        return [
            ("binding", b"owner"),
            ("owner", bytes.fromhex(value["owner"])),
            ("product", value["product"].encode()),
            ("svn", value["svn"].to_bytes(4, "big")),
        ]
    policy = {"name": "measurement", "version": 1, "bind": REGISTERS} | value
    boundary = policy.get("boundary")
    at = [
        ("boundary register", bytes([boundary["register"]])),
        ("boundary event", boundary["event"].encode()),
    ] if boundary else []
    return [
        ("binding", kind.encode()),
        ("register policy", policy["name"].encode()),
        ("register policy version", policy["version"].to_bytes(4, "big")),
        *at,
        *((name, guest[name]) for name in REGISTERS if name in policy["bind"]),
    ]


def info_v1(case):
    guest = {name: bytes.fromhex(value) for name, value in case["guest"].items()}
    attributes = int.from_bytes(guest["ATTRIBUTES"], "big") & ATTRIBUTES_MASK
    xfam = int.from_bytes(guest["XFAM"], "big") & XFAM_MASK
    instance = [("instance", case["instance"].encode())] if "instance" in case else []
    return encode(
        "bulla/derived-key/v1",
        [
            ("format version", b"\x01"),
            ("algorithm", case["algorithm"].encode()),
            ("length", case["length"].to_bytes(2, "big")),
            ("root id", root_id(bytes.fromhex(case["root"]))),
            ("authority", bytes.fromhex(case["authority"])),
            *bound(case["binding"], guest),
            ("ATTRIBUTES mask", ATTRIBUTES_MASK.to_bytes(8, "big")),
            ("ATTRIBUTES", attributes.to_bytes(8, "big")),
            ("XFAM mask", XFAM_MASK.to_bytes(8, "big")),
            ("XFAM", xfam.to_bytes(8, "big")),
            *instance,
            ("path", case["path"].encode()),
            ("purpose", case["purpose"].encode()),
        ],
    )


def expected(vectors):
    """Yields name, value in the file, value computed here."""
    for case in vectors["roots"]:
        root = root_of(case)
        yield case["name"] + ": root", case["root"], root
        yield case["name"] + ": root id", case["root_id"], root_id(root)
        yield case["name"] + ": commitment", case["commitment"], commitment(root)
        yield case["name"] + ": legacy seal key", case["legacy_seal_key"], legacy_seal_key(root)
    for case in vectors["keys"]:
        info = info_v1(case)
        yield case["name"] + ": info", case["info"], info
        key = hkdf(bytes.fromhex(case["root"]), info, case["length"], HASHES[case["algorithm"]])
        yield case["name"] + ": key", case["key"], key
        if case["algorithm"] in KEMS:
            public_key = KEMS[case["algorithm"]].public(key)
            yield case["name"] + ": public key", case["public_key"], public_key
    for case in vectors["legacy"]:
        registers = [bytes.fromhex(case[name]) for name in REGISTERS[:5]]
        yield case["name"], case["key"], legacy_key(bytes.fromhex(case["seal_key"]), registers)


def main():
    path = pathlib.Path(sys.argv[1])
    count = 0
    for name, found, wanted in expected(json.loads(path.read_text())):
        if found != wanted.hex():
            sys.exit(f"{name}: the file has {found}, and the specification gives {wanted.hex()}")
        count += 1
    print(f"{count} values agree")


if __name__ == "__main__":
    main()
