#!/usr/bin/env python3
"""Checks the vectors in a file against docs/spec/documents.md, with nothing but the standard library.

usage: documents.py documents-v1.json

Prints how many values were compared; exits 1 on the first that differs.
"""

import base64
import hashlib
import json
import pathlib
import re
import sys
import tomllib

import ed25519

ROLES = ["policy", "manifest", "command"]
REGISTERS = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig", "mrservicetd"]


def prefixed(value):
    return len(value).to_bytes(4, "big") + value


def encode(label, parts=()):
    named = (prefixed(name.encode()) + prefixed(value) for name, value in parts)
    return prefixed(label.encode()) + b"".join(named)


def is_name(text):
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) is not None


def whole(value, most):
    return type(value) is int and 0 <= value <= most


def toml(text):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def hexadecimal(text, length):
    if not isinstance(text, str) or re.fullmatch(f"[0-9A-Fa-f]{{{2 * length}}}", text) is None:
        return None
    return bytes.fromhex(text)


def descriptor(text):
    """Threshold, keys and id, or None for what is no descriptor."""
    form = toml(text) if len(text.encode()) <= 4096 else None
    if form is None or set(form) != {"algorithm", "name", "threshold", "keys"} or not isinstance(form["keys"], list):
        return None
    keys = [hexadecimal(key, 32) for key in form["keys"]]
    good = form["algorithm"] == "ed25519" and is_name(form["name"]) and None not in keys
    if not good or not 1 <= len(keys) <= 16 or len(set(keys)) != len(keys) or any(map(ed25519.is_weak, keys)):
        return None
    if not whole(form["threshold"], 255) or not 1 <= form["threshold"] <= len(keys):
        return None
    parts = [("algorithm", b"ed25519"), ("name", form["name"].encode()), ("threshold", bytes([form["threshold"]]))]
    info = encode("bulla/descriptor/v1", parts + [("key", key) for key in sorted(keys)])
    return form["threshold"], keys, hashlib.sha256(info).digest()


def message(role, signers, document):
    parts = [("role", role.encode()), ("signers", signers), ("document", document.encode())]
    return encode("bulla/signed-document/v1", parts)


def judge(signed, role):
    """The id of those who signed, or why it is not signed as it has to be."""
    if len(signed["document"].encode()) > 65536:
        return "signed.too_large"
    if (signers := descriptor(signed["descriptor"])) is None:
        return "signed.descriptor"
    threshold, keys, name = signers
    seen = set()
    for signature in signed["signatures"]:
        key, value = base64.b64decode(signature["key"]), base64.b64decode(signature["signature"])
        if key not in keys:
            return "signed.unknown_key"
        if key in seen:
            return "signed.twice"
        if not ed25519.verify(key, message(role, name, signed["document"]), value):
            return "signed.bad_signature"
        seen.add(key)
    return name.hex() if len(seen) >= threshold else "signed.too_few"


def manifest(text):
    """What a manifest says, or None for what is none."""
    form = toml(text)
    known = {"version", "owner", "product", "svn", "not_after", "except", "image"}
    if form is None or not {"version", "owner", "product", "svn", "image"} <= set(form) <= known:
        return None
    exceptions, owner = form.get("except", []), hexadecimal(form["owner"], 32)
    image = {name: hexadecimal(value, 48) for name, value in form["image"].items()}
    if form["version"] != 1 or owner is None or not is_name(form["product"]) or not whole(form["svn"], 2**32 - 1):
        return None
    if None in image.values() or "mrtd" not in image or image["mrtd"] == bytes(48):
        return None
    if sorted([*image, *exceptions]) != sorted(REGISTERS):
        return None
    return owner, form["product"], form["svn"], image


def grant(text, ask):
    if (granted := manifest(text)) is None:
        return "manifest.invalid"
    owner, product, svn, image = granted
    if ask["owner"] != owner.hex():
        return "owner"
    if ask["product"] != product:
        return "product"
    if ask["svn"] > svn:
        return "svn"
    differing = (name for name in REGISTERS if name in image and ask["guest"][name] != image[name].hex())
    return next(differing, "granted")


def main(path):
    vectors, count = json.loads(pathlib.Path(path).read_text()), 0

    def compare(name, found, wanted):
        nonlocal count
        if found != wanted:
            sys.exit(f"{name}: {found} instead of {wanted}")
        count += 1

    for case in vectors["keys"]:
        compare(case["seed"], ed25519.public(bytes.fromhex(case["seed"])).hex(), case["public"])
    for case in vectors["descriptors"]:
        found = descriptor(case["toml"])
        compare(case["name"], None if found is None else found[2].hex(), case["id"])
    for case in vectors["messages"]:
        encoded = message(case["role"], bytes.fromhex(case["signers"]), case["document"])
        compare(case["role"], encoded.hex(), case["encoded"])
    for case in vectors["signed"]:
        for role in ROLES:
            compare(f"{case['name']} as {role}", judge(case["signed"], role), case["verdicts"][role])
    for case in vectors["manifests"]:
        compare(case["name"], grant(case["toml"], case["ask"]), case["verdict"])
    print(f"{count} values agree")


if __name__ == "__main__":
    main(sys.argv[1])
