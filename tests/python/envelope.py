#!/usr/bin/python3
"""A second implementation of docs/spec/envelope.md, version 1: it reads envelopes, and `vectors` beside it makes the test
vectors.

Needs the package `cryptography` (Debian: python3-cryptography), for AES-256-GCM and X25519 alone.

    envelope.py open FILE READER       the secret to stdout and how it opened to stderr, in JSON; or {"refused": CODE} to
                                       stderr and exit 1. READER is a JSON file with the fields of a vector's reader, below
    envelope.py check DIRECTORY        every vector gives what its description says
    envelope.py make DIRECTORY         writes the vectors; the same bytes each time

Each vector NAME.bulla is described in NAME.json. Bytes are in hexadecimal; what may be absent is marked with "?".

    shows           what the vector shows, in words
    reader          who opens it:
      context         the context that the caller asks for
      machine?        the machine that the reader runs on:
        kind            "sgx", "tdx-provider" or "snp"
        simulated       whether it is a simulated one, whose slots are of kind `sim`
        key             what it gives for every request that is for its identity
        tag?            "sgx" and "snp": its machine tag, 16 bytes; the same for every request
        registers       its identity, by architectural name; numbers as numbers. What is absent is zero. "sgx": MRENCLAVE,
                        MRSIGNER, ISVPRODID, ISVSVN, CPUSVN, CONFIGSVN, CONFIGID, ISVFAMILYID, ISVEXTPRODID,
                        ATTRIBUTES.FLAGS, ATTRIBUTES.XFRM, MISCSELECT. "tdx-provider": MRTD, RTMR0 to RTMR3, MRCONFIGID,
                        MROWNER, MROWNERCONFIG, MRSERVICETD. "snp": MEASUREMENT, POLICY, FAMILY_ID, HOST_DATA, ID_KEY_DIGEST,
                        AUTHOR_KEY_DIGEST, VMPL, GUEST_SVN, COMMITTED_TCB
      private_keys?   recipients' keys at hand: pairs of the KEM's number and the private key, 32 bytes
      shares?         shares that holders gave: triples of the slot's salt, the index from 1, and the share, 32 bytes
      demands?        what the caller demands:
        epoch?          the least epoch
        floor?          the least ISVSVN, the CPUSVNs that are accepted (an empty array: all) and the least epoch:
                        `{"ISVSVN": 0, "CPUSVN": [], "epoch": 0}`
        recipients?     the only recipients that it may open for: pairs of the KEM's number and the public key
        origin?         true: a machine must have written it
    opened?         what comes of it:
      secret_sha256   SHA-256 of the secret
      slot            the index of the slot that opened it
      origin          "none" (the header has no key 10), "unchecked" (another slot opened it) or "proved"
    refused?        or the code of the refusal
"""

import hashlib
import hmac
import json
import pathlib
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import cbor
import hpke
import shamir

MAGIC = b"\x93bulla\r\n"
VERSION = 1
MAX_HEADER = 64 * 1024
CHUNK = 64 * 1024
TAG = 16
MAC = 32
MAX_U64 = 2**64 - 1

SUITE, ID, SALT, CONTEXT, CREATED, SLOTS, CRITICAL, LABELS, EPOCH, _, ORIGIN = range(11)
KNOWN_KEYS = {SUITE, ID, SALT, CONTEXT, CREATED, SLOTS, CRITICAL, LABELS, EPOCH, ORIGIN}
EXTENSIONS = range(16, 65536)
MACHINES = ("sgx", "tdx-provider", "snp", "sim")
RECOVERY, SUCCESSOR = 0, 1


class Refused(Exception):
    """An envelope that does not open; the argument is the code of the reason."""


# Derivations.


def sha256(data):
    return hashlib.sha256(data).digest()


def info(label, *parts):
    strings = [label.encode()]
    for name, value in parts:
        strings += [name.encode(), value]
    return b"".join(struct.pack(">I", len(string)) + string for string in strings)


def hkdf(ikm, salt, info_bytes):
    return hpke.expand(hpke.extract(salt, ikm), info_bytes, 32)


def suite_part(header):
    return ("suite", struct.pack(">H", header[SUITE]))


def bound_parts(header):
    return ("envelope id", header[ID]), ("context hash", sha256(header[CONTEXT].encode()))


def slot_key(label, opener_key, header, slot):
    """The wrapping key or the origin key."""
    kind, salt, opener, _ = slot
    return hkdf(
        opener_key,
        salt,
        info(label, suite_part(header), ("kind", kind.encode()), ("opener", opener), *bound_parts(header)),
    )


def wrapping_key(opener_key, header, slot):
    return slot_key("bulla/envelope/wrap/v1", opener_key, header, slot)


def origin_key(opener_key, header, slot):
    return slot_key("bulla/envelope/origin-key/v1", opener_key, header, slot)


def header_mac(file_key, header_digest):
    return hpke.expand(file_key, info("bulla/envelope/header/v1", ("header digest", header_digest)), 32)


def payload_key(file_key, header, version=VERSION):
    named = info(
        "bulla/envelope/payload/v1",
        ("magic", MAGIC),
        ("version", bytes([version])),
        suite_part(header),
        ("envelope id", header[ID]),
        ("payload salt", header[SALT]),
        ("context", header[CONTEXT].encode()),
    )
    return hpke.expand(file_key, named, 32)


RECIPIENT_LABEL = "bulla/envelope/recipient/v1"
SHARE_LABEL = "bulla/envelope/share/v1"


def recipient_info(header, role):
    return info(RECIPIENT_LABEL, *bound_parts(header), ("role", bytes([role])))


def share_info(header, threshold, count, x):
    return info(
        SHARE_LABEL,
        *bound_parts(header),
        ("threshold", bytes([threshold])),
        ("shares", bytes([count])),
        ("index", bytes([x])),
    )


def share_commitment(header, slot_salt, x, share):
    return sha256(
        info(
            "bulla/envelope/share-commitment/v1",
            ("envelope id", header[ID]),
            ("salt", slot_salt),
            ("index", bytes([x])),
            ("share", share),
        )
    )


def trailer_of(key, head, payload):
    chunks = (payload[at : at + CHUNK + TAG] for at in range(0, len(payload), CHUNK + TAG))
    digest = sha256(b"".join(map(sha256, chunks)))
    return hmac.digest(key, info("bulla/envelope/origin/v1", ("header", head), ("payload", digest)), "sha256")


def nonce(index, last):
    return index.to_bytes(11, "big") + bytes([last])


# Steps 5 to 10: the header without a key.


def is_bytes(value, size):
    return type(value) is bytes and len(value) == size


def is_unsigned(value, bits=64):
    return type(value) is int and 0 <= value < 1 << bits


def is_text_of(value, shortest, longest):
    return type(value) is str and shortest <= len(value.encode()) <= longest


def require(condition, code="envelope.malformed"):
    if not condition:
        raise Refused(code)


def parse(encoded):
    try:
        for key in cbor.keys_of_map(encoded):
            require(key in KNOWN_KEYS or key in EXTENSIONS, "envelope.unsupported")
        header = cbor.decode(encoded)
    except cbor.Malformed:
        raise Refused("envelope.malformed") from None
    check_types(header)
    require(header[SUITE] == 1 and not header[CRITICAL], "envelope.unsupported")
    check_bounds(header)
    for slot in header[SLOTS]:
        parse_opener(slot[0], slot[2])
    machines = [slot[0] for slot in header[SLOTS] if slot[0] in MACHINES]
    require("sim" not in machines or set(machines) == {"sim"})
    if ORIGIN in header:
        require(header[ORIGIN] < len(header[SLOTS]) and header[SLOTS][header[ORIGIN]][0] in MACHINES)
    return header


def check_types(header):
    require({SUITE, ID, SALT, CONTEXT, SLOTS, CRITICAL} <= set(header))
    require(is_unsigned(header[SUITE], 16))
    require(is_bytes(header[ID], 16) and is_bytes(header[SALT], 32))
    require(type(header[CONTEXT]) is str)
    require(type(header[SLOTS]) is list)
    for slot in header[SLOTS]:
        require(type(slot) is list and len(slot) == 4)
        kind, salt, opener, wrapped = slot
        require(type(kind) is str and is_bytes(salt, 32) and type(opener) is bytes and is_bytes(wrapped, 48))
    require(type(header[CRITICAL]) is list and all(map(is_unsigned, header[CRITICAL])))
    for key in (CREATED, EPOCH, ORIGIN):
        require(key not in header or is_unsigned(header[key]))
    if LABELS in header:
        require(type(header[LABELS]) is dict)
        require(all(type(text) is str for label in header[LABELS].items() for text in label))
    require(all(type(header[key]) is bytes for key in header if key in EXTENSIONS))


def check_bounds(header):
    require(is_text_of(header[CONTEXT], 1, 1024))
    if LABELS in header:
        require(1 <= len(header[LABELS]) <= 32)
        require(all(is_text_of(name, 1, 64) and is_text_of(value, 0, 1024) for name, value in header[LABELS].items()))
    require(EPOCH not in header or header[EPOCH] >= 1)
    require(len(header[SLOTS]) <= 64)


# Openers.


def parse_opener(kind, opener):
    """The fields of an opener, if they are what a sealer writes."""
    if kind not in (*MACHINES, "recipient", "threshold"):
        raise Refused("request.invalid")
    code = "request.invalid" if kind in MACHINES else "envelope.malformed"
    try:
        fields = cbor.decode(opener)
    except cbor.Malformed:
        raise Refused(code) from None
    checks = {
        "sgx": is_sgx,
        "tdx-provider": is_tdx_provider,
        "snp": is_snp,
        "sim": is_sim,
        "recipient": is_recipient,
        "threshold": is_threshold,
    }
    require(type(fields) is list and checks[kind](fields), code)
    return fields


# The fields of an `sgx` opener and their types: bits of a number, or bytes.
SGX_FIELDS = {
    "KEYPOLICY": "u16",
    "ISVSVN": "u16",
    "CPUSVN": 16,
    "CONFIGSVN": "u16",
    "FLAGSMASK": "u64",
    "XFRMMASK": "u64",
    "MISCMASK": "u32",
    "CETMASK": "u8",
    "KEYID": 32,
    "MRENCLAVE": 32,
    "MRSIGNER": 32,
    "ISVPRODID": "u16",
    "FLAGS": "u64",
    "CONFIGID": 64,
    "ISVFAMILYID": 16,
    "ISVEXTPRODID": 16,
    "LABEL": "text",
    "TAG": 16,
}
SELECTABLE = {
    "MRENCLAVE": 1 << 0,
    "MRSIGNER": 1 << 1,
    "CONFIGID": 1 << 3,
    "ISVFAMILYID": 1 << 4,
    "ISVEXTPRODID": 1 << 5,
}
POLICY_BITS = sum(SELECTABLE.values())
KSS_BITS = POLICY_BITS & ~3
INIT_AND_DEBUG = 3
ATTRIBUTE_KSS = 0x80


def is_sgx(fields):
    return are_of(SGX_FIELDS, fields) and is_sgx_as_sealed(dict(zip(SGX_FIELDS, fields)))


def are_of(kinds, fields):
    """Whether there is a value for each field, of its type."""
    if len(fields) != len(kinds):
        return False
    for value, kind in zip(fields, kinds.values()):
        if kind == "text":
            fits = type(value) is str
        elif type(kind) is int:
            fits = is_bytes(value, kind)
        else:
            fits = is_unsigned(value, int(kind[1:]))
        if not fits:
            return False
    return True


def is_sgx_as_sealed(named):
    policy = named["KEYPOLICY"]
    if policy & ~POLICY_BITS or not policy & 3:
        return False
    if named["FLAGSMASK"] & INIT_AND_DEBUG != INIT_AND_DEBUG or named["FLAGS"] & ~named["FLAGSMASK"]:
        return False
    if named["CETMASK"] != 0 or any(named[name] == bytes(32) for name in ("KEYID", "MRENCLAVE", "MRSIGNER")):
        return False
    for name in ("CONFIGID", "ISVFAMILYID", "ISVEXTPRODID"):
        if not policy & SELECTABLE[name] and any(named[name]):
            return False
    if not policy & SELECTABLE["CONFIGID"] and named["CONFIGSVN"] != 0:
        return False
    return is_label(named["LABEL"]) if policy & SELECTABLE["MRSIGNER"] else named["LABEL"] == ""


def is_label(text):
    return 1 <= len(text) <= 64 and all("!" <= character <= "~" and character != "," for character in text)


# As SGX_FIELDS, of an `snp` opener.
SNP_FIELDS = {
    "ROOT": "u32",
    "SELECT": "u64",
    "VMPL": "u32",
    "GUEST_SVN": "u32",
    "TCB": 8,
    "KEYID": 32,
    "MEASUREMENT": 48,
    "POLICY": "u64",
    "FAMILY_ID": 16,
    "HOST_DATA": 32,
    "SIGNER": 48,
    "LABEL": "text",
    "TAG": 16,
}
SNP_ALWAYS = 1 << 0 | 1 << 5
SNP_MEASUREMENT = 1 << 3
SNP_RELEASES = 1 << 2 | 1 << 4
SNP_VCEK = 2


def is_snp(fields):
    return are_of(SNP_FIELDS, fields) and is_snp_as_sealed(dict(zip(SNP_FIELDS, fields)))


def is_snp_as_sealed(named):
    rest = named["SELECT"] ^ SNP_ALWAYS
    if rest not in (SNP_MEASUREMENT, SNP_RELEASES, SNP_MEASUREMENT | SNP_RELEASES):
        return False
    if named["ROOT"] != SNP_VCEK or named["VMPL"] > 3 or not any(named["KEYID"]) or not any(named["MEASUREMENT"]):
        return False
    if named["GUEST_SVN"] >= 1 << 16 or any(named["FAMILY_ID"][2:]):
        return False
    if rest & SNP_RELEASES:
        return any(named["SIGNER"]) and is_label(named["LABEL"])
    return named["GUEST_SVN"] == 0 and not any(named["FAMILY_ID"]) and named["LABEL"] == ""


TDX_REGISTERS = ("MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER", "MROWNERCONFIG", "MRSERVICETD")


def is_tdx_provider(fields):
    if not 6 <= len(fields) <= 7:
        return False
    root_id, provider, authority, path, purpose, registers = fields[:6]
    return (
        all(is_guest_binding(binding) for binding in fields[6:])
        and is_bytes(root_id, 16)
        and is_bytes(provider, 32)
        and is_bytes(authority, 32)
        and type(path) is str
        and type(purpose) is str
        and type(registers) is list
        and len(registers) == len(TDX_REGISTERS)
        and all(is_bytes(register, 48) for register in registers)
        and registers[0] != bytes(48)
    )


def is_guest_binding(binding):
    """What a key of a guest's provider is bound to, where it is not the measurement."""
    if type(binding) is not list or len(binding) < 2:
        return False
    kind, *terms = binding
    if kind == 2:
        owner, *terms = terms
        if not is_bytes(owner, 32) or owner == bytes(32):
            return False
    if kind not in (1, 2) or len(terms) != 2:
        return False
    name, version = terms
    return (
        type(name) is str
        and re.fullmatch("[A-Za-z0-9._-]{1,64}", name) is not None
        and type(version) is int
        and 0 <= version < 1 << 32
    )


def is_sim(fields):
    if len(fields) != 2:
        return False
    kind, opener = fields
    if kind not in ("sgx", "tdx-provider", "snp") or type(opener) is not bytes:
        return False
    parse_opener(kind, opener)
    return True


def is_recipient(fields):
    return len(fields) == 4 and is_holder(*fields[:3]) and fields[3] in (RECOVERY, SUCCESSOR)


def is_threshold(fields):
    if len(fields) != 2:
        return False
    threshold, shares = fields
    if type(threshold) is not int or type(shares) is not list or not 2 <= threshold <= len(shares) <= 16:
        return False
    for share in shares:
        if type(share) is not list or len(share) != 5:
            return False
        if not is_holder(*share[:3]) or not is_bytes(share[3], 48) or not is_bytes(share[4], 32):
            return False
    return len({share[1] for share in shares}) == len(shares)


def is_holder(number, public_key, encapsulated):
    """Somebody's public key, and what was encapsulated to it."""
    if type(number) is not int or number not in hpke.KEMS:
        return False
    kem = hpke.KEMS[number]
    return (
        is_bytes(public_key, kem.PUBLIC_LEN)
        and is_bytes(encapsulated, kem.ENCAPSULATED_LEN)
        and kem.is_public(public_key)
    )


# Step 13: who opens.

CLOSENESS = {
    "envelope.no_opener": 0,
    "machine.wrong_backend": 1,
    "machine.other_identity": 2,
    "machine.other_machine": 3,
    "machine.tcb_too_old": 4,
    "machine.below_floor": 4,
    "slot.shares_missing": 5,
    "slot.share_wrong": 6,
    "envelope.header_changed": 7,
}


class Machine:
    """What the reader runs on, as its description in a vector says."""

    def __init__(self, kind, simulated, key, registers, tag=None):
        assert kind in ("sgx", "tdx-provider", "snp")
        self.kind, self.simulated, self.key = kind, simulated, bytes.fromhex(key)
        self.tag = None if tag is None else bytes.fromhex(tag)
        self.registers = registers

    def number(self, name):
        return self.registers.get(name, 0)

    def bytes(self, name, size):
        value = bytes.fromhex(self.registers.get(name, "00" * size))
        assert len(value) == size, name
        return value

    def give(self, kind, fields, floor):
        """The key for a request."""
        require(self.simulated == (kind == "sim"), "machine.wrong_backend")
        if kind == "sim":
            kind, fields = fields[0], parse_opener(*fields)
        require(kind == self.kind, "machine.wrong_backend")
        if kind == "sgx":
            self.judge_sgx(dict(zip(SGX_FIELDS, fields)), floor)
        elif kind == "snp":
            self.judge_snp(dict(zip(SNP_FIELDS, fields)))
        elif len(fields) == 6 and fields[5] != [self.bytes(name, 48) for name in TDX_REGISTERS]:
            raise Refused("machine.other_identity")
        return self.key

    def judge_sgx(self, named, floor):
        policy, flags = named["KEYPOLICY"], self.number("ATTRIBUTES.FLAGS")
        require(named["CPUSVN"].endswith(b"SIMULATE") == self.simulated, "machine.wrong_backend")
        require(named["ISVPRODID"] == self.number("ISVPRODID"), "machine.other_identity")
        require(named["FLAGS"] == flags & named["FLAGSMASK"], "machine.other_identity")
        require(not policy & KSS_BITS or flags & ATTRIBUTE_KSS, "machine.other_identity")
        for name, bit in SELECTABLE.items():
            require(not policy & bit or named[name] == self.bytes(name, SGX_FIELDS[name]), "machine.other_identity")
        require(named["ISVSVN"] <= self.number("ISVSVN"), "machine.tcb_too_old")
        require(named["CONFIGSVN"] <= self.number("CONFIGSVN"), "machine.tcb_too_old")
        require(named["ISVSVN"] >= floor["ISVSVN"], "machine.below_floor")
        require(not floor["CPUSVN"] or named["CPUSVN"].hex() in floor["CPUSVN"], "machine.below_floor")
        require(named["TAG"] == self.tag, "machine.other_machine")

    def judge_snp(self, named):
        author, own_id = self.bytes("AUTHOR_KEY_DIGEST", 48), self.bytes("ID_KEY_DIGEST", 48)
        here = {"SIGNER": author if any(author) else own_id, "HOST_DATA": self.bytes("HOST_DATA", 32)}
        here["POLICY"] = self.number("POLICY")
        if named["SELECT"] & SNP_MEASUREMENT:
            here["MEASUREMENT"] = self.bytes("MEASUREMENT", 48)
        if named["SELECT"] & SNP_RELEASES:
            here["FAMILY_ID"] = self.bytes("FAMILY_ID", 16)
        require(all(named[name] == value for name, value in here.items()), "machine.other_identity")
        require(named["VMPL"] >= self.number("VMPL"), "machine.other_identity")
        require(named["GUEST_SVN"] <= self.number("GUEST_SVN"), "machine.tcb_too_old")
        committed = self.bytes("COMMITTED_TCB", 8)
        require(all(part <= now for part, now in zip(named["TCB"], committed)), "machine.tcb_too_old")
        require(named["TAG"] == self.tag, "machine.other_machine")


class Reader:
    """Who opens an envelope, as the description in a vector says."""

    def __init__(self, context, machine=None, private_keys=(), shares=(), demands=None):
        self.context = context
        self.machine = None if machine is None else Machine(**machine)
        self.keys = {}
        for number, private_key in private_keys:
            kem, private_key = hpke.KEMS[number], bytes.fromhex(private_key)
            self.keys[number, kem.public(private_key)] = private_key
        self.shares = [(bytes.fromhex(salt), x, bytes.fromhex(share)) for salt, x, share in shares]
        self.demands = demands or {}
        assert set(self.demands) <= {"epoch", "floor", "recipients", "origin"}
        self.floor = self.demands.get("floor", {"ISVSVN": 0, "CPUSVN": [], "epoch": 0})
        assert set(self.floor) == {"ISVSVN", "CPUSVN", "epoch"}

    def opener_key(self, header, slot):
        kind, salt, opener, _ = slot
        fields = parse_opener(kind, opener)
        if kind == "recipient":
            return self.recipient_key(header, fields)
        if kind == "threshold":
            return self.threshold_key(header, salt, fields)
        require(self.machine is not None, "envelope.no_opener")
        return self.machine.give(kind, fields, self.floor)

    def recipient_key(self, header, fields):
        number, public_key, encapsulated, role = fields
        return self.exported(number, public_key, encapsulated, recipient_info(header, role), RECIPIENT_LABEL)

    def threshold_key(self, header, salt, fields):
        threshold, entries = fields
        given = [*self.own_shares(header, fields), *((x, share) for slot, x, share in self.shares if slot == salt)]
        require(given, "envelope.no_opener")
        good, wrong = {}, False
        for x, share in given:
            if share and 1 <= x <= len(entries) and entries[x - 1][4] == share_commitment(header, salt, x, share):
                good[x] = share
            else:
                wrong = True
        if len(good) < threshold:
            raise Refused("slot.share_wrong" if wrong else "slot.shares_missing")
        return shamir.combine(dict(list(good.items())[:threshold]))

    def own_shares(self, header, fields):
        """The shares that the private keys at hand give, by their place; None for one that does not decrypt."""
        threshold, entries = fields
        for x, (number, public_key, encapsulated, encrypted, _) in enumerate(entries, 1):
            if (number, public_key) not in self.keys:
                continue
            bound = share_info(header, threshold, len(entries), x)
            try:
                key = self.exported(number, public_key, encapsulated, bound, SHARE_LABEL)
                yield x, AESGCM(key).decrypt(bytes(12), encrypted, b"")
            except (Refused, InvalidTag):
                yield x, None

    def exported(self, number, public_key, encapsulated, info_bytes, label):
        require((number, public_key) in self.keys, "envelope.no_opener")
        try:
            return hpke.receive_export(
                hpke.KEMS[number], self.keys[number, public_key], encapsulated, info_bytes, label.encode()
            )
        except hpke.NoSecret:
            raise Refused("envelope.header_changed") from None

    def find_slot(self, header, header_digest, mac):
        """The index of the first slot that opens, its opener's key and the file key."""
        reasons = ["envelope.no_opener"]
        for index, slot in enumerate(header[SLOTS]):
            try:
                opener_key = self.opener_key(header, slot)
                return index, opener_key, unwrapped(opener_key, header, slot, header_digest, mac)
            except Refused as reason:
                reasons.append(reason.args[0])
        raise Refused(max(reasons, key=CLOSENESS.get))

    def check_demands(self, header, slot):
        require(header.get(EPOCH, 0) >= self.demands.get("epoch", 0), "envelope.rollback")
        require(header.get(EPOCH, 0) >= self.floor["epoch"], "machine.below_floor")
        if "recipients" in self.demands:
            expected = {(number, bytes.fromhex(key)) for number, key in self.demands["recipients"]}
            require(set(recipients_of(header)) <= expected, "slot.unexpected")
        if self.demands.get("origin"):
            require(header.get(ORIGIN) == slot, "envelope.no_origin")


def recipients_of(header):
    for kind, _, opener, _ in header[SLOTS]:
        fields = cbor.decode(opener)
        if kind == "recipient":
            yield fields[0], fields[1]
        if kind == "threshold":
            yield from ((share[0], share[1]) for share in fields[1])


def unwrapped(opener_key, header, slot, header_digest, mac):
    try:
        file_key = AESGCM(wrapping_key(opener_key, header, slot)).decrypt(bytes(12), slot[3], b"")
    except InvalidTag:
        raise Refused("envelope.header_changed") from None
    require(hmac.compare_digest(mac, header_mac(file_key, header_digest)), "envelope.header_changed")
    return file_key


# All steps.


def open_envelope(envelope, reader):
    """The secret, the index of the slot that opened it, and what is known of its origin."""
    at = 0

    def take(size):
        nonlocal at
        require(len(envelope) - at >= size, "envelope.truncated")
        at += size
        return envelope[at - size : at]

    require(MAGIC.startswith(envelope[:8]), "envelope.magic")
    take(8)
    require(take(1) == bytes([VERSION]), "envelope.version")
    size = int.from_bytes(take(4), "big")
    require(size <= MAX_HEADER)
    encoded = take(size)
    header_digest = sha256(envelope[:at])
    require(take(16) == header_digest[:16], "envelope.checksum")
    header = parse(encoded)
    mac = take(MAC)
    require(header[CONTEXT] == reader.context, "envelope.other_context")

    slot, opener_key, file_key = reader.find_slot(header, header_digest, mac)
    reader.check_demands(header, slot)
    head, payload = envelope[:at], envelope[at:]
    if ORIGIN not in header:
        return open_payload(payload_key(file_key, header), payload), slot, "none"
    require(len(payload) >= MAC, "envelope.truncated")
    payload, trailer = payload[:-MAC], payload[-MAC:]
    secret = open_payload(payload_key(file_key, header), payload)
    if header[ORIGIN] != slot:
        return secret, slot, "unchecked"
    key = origin_key(opener_key, header, header[SLOTS][slot])
    require(hmac.compare_digest(trailer, trailer_of(key, head, payload)), "envelope.origin")
    return secret, slot, "proved"


def open_payload(key, payload):
    secret, cipher = [], AESGCM(key)
    count = max(1, -(-len(payload) // (CHUNK + TAG)))
    for index in range(count):
        chunk = payload[index * (CHUNK + TAG) : (index + 1) * (CHUNK + TAG)]
        require(len(chunk) >= TAG, "envelope.truncated")
        try:
            secret.append(cipher.decrypt(nonce(index, index == count - 1), chunk, b""))
        except InvalidTag:
            raise Refused("envelope.payload_changed") from None
        require(index == 0 or secret[-1], "envelope.payload_changed")
    return b"".join(secret)


# The command.


def outcome_of(envelope, reader):
    """The secret, or None; and what a vector says of it."""
    try:
        secret, slot, origin = open_envelope(envelope, Reader(**reader))
    except Refused as reason:
        return None, {"refused": reason.args[0]}
    return secret, {"opened": {"secret_sha256": sha256(secret).hex(), "slot": slot, "origin": origin}}


def check(directory):
    descriptions = sorted(directory.glob("*.json"))
    for path in descriptions:
        description = json.loads(path.read_text())
        assert {"shows", "reader"} <= set(description) <= {"shows", "reader", "opened", "refused"}
        _, outcome = outcome_of(path.with_suffix(".bulla").read_bytes(), description["reader"])
        expected = {key: description[key] for key in ("opened", "refused") if key in description}
        if outcome != expected:
            sys.exit(f"{path.name}: {outcome} instead of {expected}")
    print(len(descriptions))


def main():
    command, path, *rest = sys.argv[1:]
    path = pathlib.Path(path)
    if command == "make":
        import vectors

        vectors.make(path)
    elif command == "check":
        check(path)
    else:
        assert command == "open"
        (reader,) = rest
        secret, outcome = outcome_of(path.read_bytes(), json.loads(pathlib.Path(reader).read_text()))
        print(json.dumps(outcome), file=sys.stderr)
        if secret is None:
            sys.exit(1)
        sys.stdout.buffer.write(secret)


if __name__ == "__main__":
    main()
