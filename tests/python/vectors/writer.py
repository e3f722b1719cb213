"""Writes envelopes for the test vectors: what it is told, sense or nonsense, authenticated as an opener could.

Whatever is random in life comes from a hash here, so that the vectors are the same each time.
"""

import hashlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import cbor
import hpke
import mlkem
import shamir
from envelope import (
    CHUNK,
    CONTEXT,
    ID,
    MAGIC,
    ORIGIN,
    RECIPIENT_LABEL,
    RECOVERY,
    SALT,
    SGX_FIELDS,
    SHARE_LABEL,
    SLOTS,
    SNP_FIELDS,
    SNP_ALWAYS,
    SNP_MEASUREMENT,
    SNP_VCEK,
    SUITE,
    CRITICAL,
    TDX_REGISTERS,
    VERSION,
    header_mac,
    is_bytes,
    nonce,
    origin_key,
    payload_key,
    recipient_info,
    sha256,
    share_commitment,
    share_info,
    trailer_of,
    wrapping_key,
)


def drawn(name, size):
    return hashlib.shake_256(b"bulla test vector " + name.encode()).digest(size)


SECRET = b"correct horse battery staple"
CALLER = "bulla/test-vector"


# Who may open.


class Machine:
    """A machine and what runs on it. Its `sgx` and `snp` requests are of the policy `measurement` unless told otherwise."""

    KEYS = {"sgx": 16, "tdx-provider": 32, "snp": 64}

    def __init__(self, name, kind, simulated, registers):
        self.kind, self.simulated, self.registers = kind, simulated, registers
        self.key = drawn(name + " key", self.KEYS[kind])
        self.tag = None if kind == "tdx-provider" else drawn(name + " tag", 16)

    def description(self, **changed):
        """For a vector's reader, with other registers."""
        described = {"kind": self.kind, "simulated": self.simulated, "key": self.key.hex()}
        if self.tag is not None:
            described["tag"] = self.tag.hex()
        registers = {**self.registers, **changed}
        described["registers"] = {
            name: value.hex() if isinstance(value, bytes) else value for name, value in registers.items()
        }
        return described

    def request(self, name, changed, edit):
        own = dict(self.registers)
        if self.kind == "tdx-provider":
            fields = {
                "ROOT": drawn("root id", 16),
                "PROVIDER": drawn("provider", 32),
                "AUTHORITY": drawn("authority", 32),
                "PATH": "bulla/envelope",
                "PURPOSE": "sealing",
                "REGISTERS": [own.get(register, bytes(48)) for register in TDX_REGISTERS],
            }
        elif self.kind == "snp":
            fields = {
                "ROOT": SNP_VCEK,
                "SELECT": SNP_ALWAYS | SNP_MEASUREMENT,
                "VMPL": own["VMPL"],
                "GUEST_SVN": 0,
                "TCB": own["COMMITTED_TCB"],
                "KEYID": drawn(name + " keyid", 32),
                "MEASUREMENT": own["MEASUREMENT"],
                "POLICY": own["POLICY"],
                "FAMILY_ID": bytes(16),
                "HOST_DATA": own["HOST_DATA"],
                "SIGNER": own["ID_KEY_DIGEST"],
                "LABEL": "",
                "TAG": self.tag,
            }
            assert list(fields) == list(SNP_FIELDS)
        else:
            mask = 0xFF0000000000000B
            fields = {
                "KEYPOLICY": 1,
                "ISVSVN": own["ISVSVN"],
                "CPUSVN": own["CPUSVN"],
                "CONFIGSVN": 0,
                "FLAGSMASK": mask,
                "XFRMMASK": 0,
                "MISCMASK": 0xF0000000,
                "CETMASK": 0,
                "KEYID": drawn(name + " keyid", 32),
                "MRENCLAVE": own["MRENCLAVE"],
                "MRSIGNER": own["MRSIGNER"],
                "ISVPRODID": own["ISVPRODID"],
                "FLAGS": own["ATTRIBUTES.FLAGS"] & mask,
                "CONFIGID": bytes(64),
                "ISVFAMILYID": bytes(16),
                "ISVEXTPRODID": bytes(16),
                "LABEL": "",
                "TAG": self.tag,
            }
            assert list(fields) == list(SGX_FIELDS)
        fields.update(changed)
        return edit(list(fields.values()))

    def opener(self, name, changed, edit, encode):
        opener = encode(self.request(name, changed, edit))
        return ("sim", cbor.encode([self.kind, opener])) if self.simulated else (self.kind, opener)


def sgx_registers(simulated):
    marker = b"SIMULATE" if simulated else bytes(8)
    return {
        "MRENCLAVE": drawn("mrenclave", 32),
        "MRSIGNER": drawn("mrsigner", 32),
        "ISVPRODID": 7,
        "ISVSVN": 3,
        "CPUSVN": bytes([1, 1, 2, 0, 0, 0, 0, 0]) + marker,
        "ATTRIBUTES.FLAGS": 0x5,
        "ATTRIBUTES.XFRM": 0x3,
    }


TDX = {name: drawn(name, 48) for name in TDX_REGISTERS[:5]}
KSS = {
    "ATTRIBUTES.FLAGS": 0x85,
    "CONFIGID": drawn("configid", 64),
    "CONFIGSVN": 2,
    "ISVFAMILYID": drawn("isvfamilyid", 16),
    "ISVEXTPRODID": drawn("isvextprodid", 16),
}

SNP = {
    "MEASUREMENT": drawn("measurement", 48),
    "POLICY": 0x2001F,
    "FAMILY_ID": (7).to_bytes(16, "little"),
    "HOST_DATA": drawn("host data", 32),
    "ID_KEY_DIGEST": drawn("id key digest", 48),
    "VMPL": 1,
    "GUEST_SVN": 3,
    "COMMITTED_TCB": bytes([9, 0, 0, 0, 0, 0, 23, 72]),
}

SIM = Machine("sim", "sgx", True, sgx_registers(True))
SIM_KSS = Machine("sim kss", "sgx", True, {**sgx_registers(True), **KSS})
SIM_TDX = Machine("sim tdx", "tdx-provider", True, TDX)
SGX = Machine("sgx", "sgx", False, sgx_registers(False))
GUEST = Machine("tdx", "tdx-provider", False, TDX)
SNP_GUEST = Machine("snp", "snp", False, SNP)
SIM_SNP = Machine("sim snp", "snp", True, SNP)
OTHER_SIM = Machine("other sim", "sgx", True, sgx_registers(True))


class Holder:
    """Somebody with a private key."""

    def __init__(self, name, kem):
        self.kem, self.private_key = kem, drawn(name + " private key", 32)
        self.public_key = kem.public(self.private_key)

    def private(self):
        return [self.kem.ID, self.private_key.hex()]

    def public(self):
        return [self.kem.ID, self.public_key.hex()]


ALICE, BOB, CAROL, DAVE = (Holder(name, hpke.DhkemX25519) for name in ("alice", "bob", "carol", "dave"))
XENIA = Holder("xenia", hpke.XWing)


# Slots. Each gives, for the header and the salt: kind, opener and the opener's key.


def same(value):
    return value


def at_machine(machine, key=None, edit=same, encode=cbor.encode, **changed):
    """`changed` are fields of the request by name; `key` is another than the machine's."""

    def make(header, salt, name):
        return (*machine.opener(name, changed, edit, encode), machine.key if key is None else key)

    return make


def at_recipient(holder, role=RECOVERY, edit=same, encode=cbor.encode):
    """`edit` changes the opener's fields after the encapsulation."""

    def make(header, salt, name):
        encapsulated, key = hpke.send_export(
            holder.kem,
            holder.public_key,
            recipient_info(header, role if role < 256 else 0),
            RECIPIENT_LABEL.encode(),
            drawn(name + " encapsulation", holder.kem.RANDOMNESS_LEN),
        )
        return "recipient", encode(edit([holder.kem.ID, holder.public_key, encapsulated, role])), key

    return make


def at_low_order(holder, point=bytes(32)):
    """A recipient's slot that takes X25519 out of the agreement: everybody knows that part of the secret."""

    def make(header, salt, name):
        randomness = drawn(name + " encapsulation", holder.kem.RANDOMNESS_LEN)
        if holder.kem is hpke.XWing:
            ciphertext, ml_secret = mlkem.encapsulate(holder.public_key[:-32], randomness[:32])
            encapsulated = ciphertext + point
            secret = hpke.XWing.combine(ml_secret, bytes(32), point, holder.public_key[-32:])
        else:
            encapsulated = point
            secret = hpke.DhkemX25519.extract_and_expand(bytes(32), point + holder.public_key)
        exporter = hpke.key_schedule(holder.kem, secret, recipient_info(header, RECOVERY))
        opener = cbor.encode([holder.kem.ID, holder.public_key, encapsulated, RECOVERY])
        return "recipient", opener, hpke.export(exporter, RECIPIENT_LABEL.encode())

    return make


def at_threshold(threshold, holders, edit=same, encode=cbor.encode, share=None, encrypted=None):
    """`share` and `encrypted` change the shares, from x and the share, before commitment and before encryption."""

    def make(header, salt, name):
        key, entries = drawn(name + " threshold key", 32), []
        for x, holder in enumerate(holders, 1):
            value = share_at(name, threshold, x)
            if share:
                value = share(x, value)
            encapsulated, share_key = hpke.send_export(
                holder.kem,
                holder.public_key,
                share_info(header, threshold, len(holders), x),
                SHARE_LABEL.encode(),
                drawn(f"{name} encapsulation {x}", holder.kem.RANDOMNESS_LEN),
            )
            commitment = share_commitment(header, salt, x, value)
            if encrypted:
                value = encrypted(x, value)
            ciphertext = AESGCM(share_key).encrypt(bytes(12), value, b"")
            entries.append([holder.kem.ID, holder.public_key, encapsulated, ciphertext, commitment])
        return "threshold", encode(edit([threshold, entries])), key

    return make


def undecryptable(fields):
    """A threshold's fields with a first share that does not decrypt."""
    threshold, (first, *others) = fields
    return [threshold, [[*first[:3], bytes(48), first[4]], *others]]


def share_at(name, threshold, x):
    """The share at `x` of the slot with this name."""
    coefficients = [drawn(f"{name} coefficient {i}", 32) for i in range(1, threshold)]
    return shamir.share(drawn(name + " threshold key", 32), coefficients, x)


def of_kind(kind, opener=b"", key=bytes(32)):
    """Whatever that is."""
    return lambda header, salt, name: (kind, opener, key)


# Envelopes.


class Writer:
    def __init__(
        self,
        name,
        slots=None,
        secret=SECRET,
        header=None,
        origin=None,
        version=VERSION,
        encode=cbor.encode,
        slot=same,
        mac_key=None,
    ):
        """`slots` are functions as above; `header` replaces fields, and takes away those that are None; `encode` makes the
        header's bytes; `slot` changes finished slots."""
        self.name, self.version, self.encode = name, version, encode
        self.file_key = drawn(name + " file key", 32)
        self.mac_key = mac_key or self.file_key
        self.header = {
            SUITE: 1,
            ID: drawn(name + " id", 16),
            SALT: drawn(name + " salt", 32),
            CONTEXT: CALLER,
            SLOTS: [],
            CRITICAL: [],
        }
        if origin is not None:
            self.header[ORIGIN] = origin
        # What the keys are derived from, even where the header's own field is nonsense.
        self.bound = dict(self.header)
        header = header or {}
        if header.get(SUITE) in range(1 << 16):
            self.bound[SUITE] = header[SUITE]
        if type(header.get(CONTEXT)) is str:
            self.bound[CONTEXT] = header[CONTEXT]
        for key in (ID, SALT):
            if is_bytes(header.get(key), len(self.bound[key])):
                self.bound[key] = header[key]
        self.chunks = [secret[at : at + CHUNK] for at in range(0, len(secret), CHUNK)] or [b""]
        self.opener_keys = []
        slots = [at_machine(SIM)] if slots is None else slots
        self.header[SLOTS] = [self.made(index, make, slot) for index, make in enumerate(slots)]
        self.header.update(header)
        self.header = {key: value for key, value in self.header.items() if value is not None}

    def made(self, index, make, edit):
        name = f"{self.name} slot {index}"
        salt = drawn(name, 32)
        kind, opener, key = make(self.bound, salt, name)
        self.opener_keys.append(key)
        wrapped = AESGCM(wrapping_key(key, self.bound, (kind, salt, opener, b""))).encrypt(
            bytes(12), self.file_key, b""
        )
        return edit([kind, salt, opener, wrapped])

    def start(self):
        return framed(self.encode(self.header), self.version)

    def given(self, index, threshold, x):
        """For a vector's reader: the share at `x` of a threshold slot."""
        return [self.header[SLOTS][index][1].hex(), x, share_at(f"{self.name} slot {index}", threshold, x).hex()]

    def head(self):
        start = self.start()
        return start + header_mac(self.mac_key, sha256(start[:-16]))

    def payload_key(self):
        return payload_key(self.file_key, self.bound, self.version)

    def payload(self, flags=None, key=None):
        return b"".join(self.encrypted(flags, key))

    def encrypted(self, flags=None, key=None):
        """The chunks, one by one. `flags` say which is the last one."""
        cipher = AESGCM(key or self.payload_key())
        flags = flags or [index == len(self.chunks) - 1 for index in range(len(self.chunks))]
        return [
            cipher.encrypt(nonce(index, flag), chunk, b"")
            for index, (chunk, flag) in enumerate(zip(self.chunks, flags))
        ]

    def trailer(self):
        if ORIGIN not in self.header:
            return b""
        index = self.header[ORIGIN]
        if type(index) is not int or index >= len(self.opener_keys):
            return bytes(32)
        key = origin_key(self.opener_keys[index], self.bound, self.header[SLOTS][index])
        return trailer_of(key, self.head(), self.payload())

    def envelope(self):
        return self.head() + self.payload() + self.trailer()


def framed(encoded, version=VERSION):
    """Magic to checksum."""
    start = MAGIC + bytes([version]) + struct.pack(">I", len(encoded)) + encoded
    return start + sha256(start)[:16]
