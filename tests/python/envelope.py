#!/usr/bin/python3
"""A second implementation of docs/spec/envelope.md, version 0: it reads envelopes and makes the test vectors.

Needs the package `cryptography` (Debian: python3-cryptography), for AES-256-GCM alone.

    envelope.py open FILE CONTEXT OPENER_KEY_HEX     the secret to stdout, or the code of the refusal to stderr and exit 1
    envelope.py check DIRECTORY                      every vector gives what its description says
    envelope.py make DIRECTORY                       writes the vectors; the same bytes each time
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"\x93bulla\r\n"
CHUNK = 64 * 1024
TAG = 16
KINDS = ("sgx", "tdx-provider", "sim")


class Refused(Exception):
    """An envelope that does not open; the argument is the code of the reason."""


# CBOR (RFC 8949): the deterministic encoding of section 4.2.1, of the few types that a header has.

def cbor_head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError(value)


def cbor(value):
    if isinstance(value, int):
        return cbor_head(0, value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        return cbor_head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in sorted(value.items()))
    raise TypeError(value)


def uncbor(data, at=0, depth=0):
    """One item and the position after it. Lenient about what re-encoding shows, strict about everything else."""
    if depth > 4 or at >= len(data):
        raise Refused("envelope.malformed")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        value = info
    elif info < 28:
        size = 1 << info - 24
        value = int.from_bytes(data[at:at + size], "big")
        at += size
    else:
        raise Refused("envelope.malformed")
    if major == 0:
        return value, at
    if major in (2, 3):
        part = data[at:at + value]
        if len(part) != value:
            raise Refused("envelope.malformed")
        try:
            return (part if major == 2 else part.decode()), at + value
        except UnicodeDecodeError:
            raise Refused("envelope.malformed") from None
    if major == 4:
        items = []
        for _ in range(value):
            item, at = uncbor(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        entries = {}
        for _ in range(value):
            key, at = uncbor(data, at, depth + 1)
            entries[key if isinstance(key, int) else None], at = uncbor(data, at, depth + 1)
        return entries, at
    raise Refused("envelope.malformed")


# Derivations.

def info(label, *parts):
    strings = [label.encode()]
    for name, value in parts:
        strings += [name.encode(), value]
    return b"".join(struct.pack(">I", len(string)) + string for string in strings)


def hkdf(ikm, salt, info_bytes):
    """HKDF-SHA-256 (RFC 5869), one block."""
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    return hmac.new(prk, info_bytes + b"\x01", hashlib.sha256).digest()


def suite_part(header):
    return ("suite", struct.pack(">H", header[0]))


def wrapping_key(opener_key, header, slot):
    kind, salt, opener, _ = slot
    return hkdf(opener_key, salt, info(
        "bulla/envelope/wrap/v0", suite_part(header), ("kind", kind.encode()), ("opener", opener),
        ("envelope id", header[1]), ("context hash", hashlib.sha256(header[3].encode()).digest())))


def header_mac(file_key, header, received):
    key = hkdf(file_key, b"", info("bulla/envelope/header/v0", suite_part(header)))
    return hmac.new(key, received, hashlib.sha256).digest()


def payload_key(file_key, header):
    return hkdf(file_key, header[2], info(
        "bulla/envelope/payload/v0", ("magic", MAGIC), ("version", b"\0"), suite_part(header),
        ("envelope id", header[1]), ("context", header[3].encode())))


# Reading.

def parse(encoded):
    header, end = uncbor(encoded)
    if not isinstance(header, dict) or None in header:
        raise Refused("envelope.malformed")
    if any(key > 6 for key in header):
        raise Refused("envelope.unsupported")
    if end != len(encoded) or cbor(header) != encoded:
        raise Refused("envelope.malformed")
    types = {0: int, 1: bytes, 2: bytes, 3: str, 5: list, 6: list}
    if 4 in header:
        types[4] = int
    if set(header) != set(types) or any(type(header[key]) is not types[key] for key in types):
        raise Refused("envelope.malformed")
    if header[0] > 0xFFFF or len(header[1]) != 16 or len(header[2]) != 32 or any(type(key) is not int for key in header[6]):
        raise Refused("envelope.malformed")
    for slot in header[5]:
        if type(slot) is not list or [type(part) for part in slot] != [str, bytes, bytes, bytes]:
            raise Refused("envelope.malformed")
        if len(slot[1]) != 32 or len(slot[3]) != 48:
            raise Refused("envelope.malformed")
    if header[0] != 1 or header[6]:
        raise Refused("envelope.unsupported")
    if not 1 <= len(header[3].encode()) <= 1024 or not 1 <= len(header[5]) <= 64:
        raise Refused("envelope.malformed")
    if any(slot[0] not in KINDS for slot in header[5]):
        raise Refused("request.invalid")
    if len({slot[0] == "sim" for slot in header[5]}) != 1:
        raise Refused("envelope.malformed")
    return header


def open_envelope(envelope, context, opener_key):
    """The secret. `opener_key` is what the machine derives for the first slot."""
    at = 0

    def take(size):
        nonlocal at
        if len(envelope) - at < size:
            raise Refused("envelope.truncated")
        at += size
        return envelope[at - size:at]

    if not MAGIC.startswith(envelope[:8]):
        raise Refused("envelope.magic")
    take(8)
    if take(1) != b"\0":
        raise Refused("envelope.version")
    size = int.from_bytes(take(4), "big")
    if size > 64 * 1024:
        raise Refused("envelope.malformed")
    encoded = take(size)
    if take(16) != hashlib.sha256(envelope[:13 + size]).digest()[:16]:
        raise Refused("envelope.checksum")
    received = envelope[:at]
    header = parse(encoded)
    mac = take(32)
    if header[3] != context:
        raise Refused("envelope.other_context")

    slot = header[5][0]
    try:
        file_key = AESGCM(wrapping_key(opener_key, header, slot)).decrypt(bytes(12), slot[3], b"")
    except InvalidTag:
        raise Refused("envelope.header_changed") from None
    if not hmac.compare_digest(mac, header_mac(file_key, header, received)):
        raise Refused("envelope.header_changed")
    return open_payload(payload_key(file_key, header), envelope[at:])


def open_payload(key, payload):
    secret, cipher = [], AESGCM(key)
    count = max(1, -(-len(payload) // (CHUNK + TAG)))
    for index in range(count):
        chunk = payload[index * (CHUNK + TAG):(index + 1) * (CHUNK + TAG)]
        if len(chunk) < TAG:
            raise Refused("envelope.truncated")
        try:
            secret.append(cipher.decrypt(nonce(index, index == count - 1), chunk, b""))
        except InvalidTag:
            raise Refused("envelope.payload_changed") from None
        if index > 0 and not secret[-1]:
            raise Refused("envelope.payload_changed")
    return b"".join(secret)


def nonce(index, last):
    return index.to_bytes(11, "big") + bytes([last])


# Writing, for the vectors. Whatever is random in life comes from a hash here, so that the vectors are the same each time.

CONTEXT = "bulla/test-vector"
OPENER_KEY = hashlib.sha256(b"opener key").digest()[:16]


def drawn(name, size):
    return hashlib.sha256(b"drawn " + name.encode()).digest()[:size]


def simulated_opener():
    """The request of a simulated SGX enclave: docs/spec/envelope.md, "Openers"."""
    cpusvn = bytes([1, 1, 2, 0, 0, 0, 0, 0]) + b"SIMULATE"
    return cbor(["sgx", cbor([
        1, 3, cpusvn, 0, 0xFF0000000000000B, 0, 0xF0000000, 0, drawn("keyid", 32), drawn("mrenclave", 32),
        drawn("mrsigner", 32), 7, 1, drawn("machine tag", 16)])])


class Writer:
    """Writes what it is told, sense or nonsense, and authenticates it as an opener could."""

    def __init__(self, name, secret=b"correct horse battery staple", **fields):
        self.file_key = drawn(name + " file key", 32)
        self.mac_key = self.file_key
        self.header = {0: 1, 1: drawn(name + " id", 16), 2: drawn(name + " salt", 32), 3: CONTEXT, 5: [], 6: []}
        self.header.update(fields.pop("header", {}))
        self.kinds = fields.pop("kinds", ["sim"])
        self.version = fields.pop("version", 0)
        self.encode = fields.pop("encode", cbor)
        self.chunks = [secret[i:i + CHUNK] for i in range(0, len(secret), CHUNK)] or [b""]
        self.name = name

    def slots(self):
        for index, kind in enumerate(self.kinds):
            opener = simulated_opener()
            if kind == "sgx":
                opener = uncbor(opener)[0][1]
            slot = [kind, drawn(f"{self.name} slot {index}", 32), opener, b""]
            key = wrapping_key(OPENER_KEY, self.header, slot)
            slot[3] = AESGCM(key).encrypt(bytes(12), self.file_key, b"")
            yield slot

    def head(self):
        self.header[5] = list(self.slots())
        encoded = self.encode(self.header)
        start = MAGIC + bytes([self.version]) + struct.pack(">I", len(encoded)) + encoded
        start += hashlib.sha256(start).digest()[:16]
        return start + header_mac(self.mac_key, self.header, start)

    def payload(self, flags=None):
        cipher = AESGCM(payload_key(self.file_key, self.header))
        flags = flags or [index == len(self.chunks) - 1 for index in range(len(self.chunks))]
        return b"".join(
            cipher.encrypt(nonce(index, flag), chunk, b"")
            for index, (chunk, flag) in enumerate(zip(self.chunks, flags)))

    def envelope(self):
        return self.head() + self.payload()


def vectors():
    """(name, what it shows, envelope, secret or the code of the refusal)"""
    secret = b"correct horse battery staple"
    long = b"".join(hashlib.sha256(struct.pack(">I", i)).digest() for i in range(CHUNK // 32))

    yield "good_one_chunk", "the plain case", Writer("one").envelope(), secret
    yield "good_empty", "no secret at all: one empty chunk", Writer("empty", b"").envelope(), b""
    yield "good_created", "a creation time", Writer("created", header={4: 1700000000}).envelope(), secret
    yield "good_two_slots", "two openers", Writer("two", kinds=["sim", "sim"]).envelope(), secret
    yield "good_two_chunks", "one byte more than a chunk", Writer("long", long + b"!").envelope(), long + b"!"

    def bad(name, shows, code, change=None, **fields):
        writer = Writer(name, **fields)
        if change:
            change(writer)
        return "bad_" + name, shows, writer.envelope(), code

    malformed, unsupported = "envelope.malformed", "envelope.unsupported"
    yield bad("version", "a version of the future", "envelope.version", version=1)
    yield bad("suite", "an unknown suite", unsupported, header={0: 2})
    yield bad("reserved_key", "a header field that version 0 reserves", unsupported, header={8: 1})
    yield bad("critical", "a critical extension", unsupported, header={6: [7]})
    yield bad("context_empty", "an empty context", malformed, header={3: ""})
    yield bad("context_long", "a context of 1025 bytes", malformed, header={3: "x" * 1025})
    yield bad("context_other", "another context than the one asked for", "envelope.other_context", header={3: "other"})
    yield bad("no_slot", "no opener", malformed, kinds=[])
    yield bad("65_slots", "one opener too many", malformed, kinds=["sim"] * 65)
    yield bad("mixed_slots", "simulated and real openers", malformed, kinds=["sim", "sgx"])
    yield bad("slot_kind", "an opener of an unknown kind", "request.invalid", kinds=["psp"])
    yield bad("trailing_cbor", "an item after the map", malformed, encode=lambda h: cbor(h) + b"\0")
    yield bad("long_integer", "the suite in two bytes", malformed, encode=lambda h: cbor(h).replace(b"\x00\x01", b"\x00\x18\x01", 1))
    yield bad("duplicate_key", "the suite twice", malformed, encode=lambda h: b"\xa7\x00\x01" + cbor(h)[1:])
    yield bad("key_order", "the suite last", malformed, encode=lambda h: cbor(h)[:1] + cbor(h)[3:] + b"\x00\x01")
    yield bad("indefinite_map", "a map without a length", malformed, encode=lambda h: b"\xbf" + cbor(h)[1:] + b"\xff")
    yield bad("null_created", "an absent field written as null", malformed,
              encode=lambda h: cbor({**h, 4: 0}).replace(b"\x04\x00\x05", b"\x04\xf6\x05", 1))

    def other_file_key(writer):
        writer.mac_key = drawn("another file key", 32)
    yield bad("two_file_keys", "wrapped file key and header MAC disagree", "envelope.header_changed", other_file_key)

    writer = Writer("no_last")
    yield ("bad_no_last_chunk", "no chunk carries the flag of the last one", writer.head() + writer.payload([False]),
           "envelope.payload_changed")
    writer = Writer("empty_last", long)
    writer.chunks.append(b"")
    yield "bad_empty_last_chunk", "an empty chunk after a full one", writer.envelope(), "envelope.payload_changed"
    writer = Writer("header_only")
    yield "bad_header_only", "no payload", writer.head(), "envelope.truncated"


def make(directory):
    for name, shows, envelope, outcome in vectors():
        description = {"shows": shows, "context": CONTEXT, "opener_key": OPENER_KEY.hex()}
        if isinstance(outcome, bytes):
            description["secret_sha256"] = hashlib.sha256(outcome).hexdigest()
        else:
            description["refused"] = outcome
        (directory / f"{name}.bulla").write_bytes(envelope)
        (directory / f"{name}.json").write_text(json.dumps(description, indent=2) + "\n")


def check(directory):
    count = 0
    for path in sorted(directory.glob("*.json")):
        description = json.loads(path.read_text())
        outcome = {}
        try:
            secret = open_envelope(path.with_suffix(".bulla").read_bytes(), description["context"],
                                   bytes.fromhex(description["opener_key"]))
            outcome["secret_sha256"] = hashlib.sha256(secret).hexdigest()
        except Refused as reason:
            outcome["refused"] = reason.args[0]
        expected = {key: description[key] for key in ("secret_sha256", "refused") if key in description}
        if outcome != expected:
            sys.exit(f"{path.name}: {outcome} instead of {expected}")
        count += 1
    print(count)


def main():
    command, path, *rest = sys.argv[1:]
    if command == "make":
        make(pathlib.Path(path))
    elif command == "check":
        check(pathlib.Path(path))
    else:
        context, key = rest
        try:
            secret = open_envelope(pathlib.Path(path).read_bytes(), context, bytes.fromhex(key))
        except Refused as reason:
            sys.exit(reason.args[0])
        sys.stdout.buffer.write(secret)


if __name__ == "__main__":
    main()
