#!/usr/bin/python3
"""What other SDKs would seal on a simulated machine: the test vectors of docs/spec/import.md, made from it and from
docs/spec/simulator.md alone.

Needs the package `cryptography` (Debian: python3-cryptography), for AES-GCM alone.

    sdk.py make DIRECTORY         writes the vectors; the same bytes each time

Each vector NAME.sealed is described in NAME.json. Bytes are in hexadecimal.

    shows           what the vector shows, in words
    machine         the machine that it is opened on: seal_fuses, owner_epoch and cpusvn of its machine.toml
    enclave         the enclave there: mrenclave, mrsigner, product, svn, flags, config_id, config_svn, family_id,
                    ext_product_id
    additional?     the additional data that the caller gives
    opened?         what comes of it: the secret and the labels, pairs of name and value
    refused?        or the code of the refusal
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MRENCLAVE, MRSIGNER, CONFIGID, FAMILYID, EXTPRODID = 1, 2, 8, 16, 32
INIT, DEBUG, MODE64BIT, KSS = 1, 2, 4, 128
FLAGS_MASK, MISC_MASK = 0xFF0000000000000B, 0xF0000000
SEAL = 4


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def cpusvn(component):
    return bytes([component, 5, 2, 2, 3, 1, 0, 3]) + b"SIMULATE"


class Machine:
    def __init__(self, fuses="machine", microcode=5):
        self.fuses, self.epoch, self.cpusvn = digest(fuses), digest(fuses + " epoch")[:16], cpusvn(microcode)

    def description(self):
        return {"seal_fuses": self.fuses.hex(), "owner_epoch": self.epoch.hex(), "cpusvn": self.cpusvn.hex()}


class Enclave:
    def __init__(self, build="build 1", signer="signer", product=7, svn=3, flags=INIT | MODE64BIT, config=None):
        self.mrenclave, self.mrsigner, self.product, self.svn = digest(build), digest(signer), product, svn
        self.flags = flags | (KSS if config else 0)
        self.config_svn = 4 if config else 0
        self.config_id = digest(config) * 2 if config else bytes(64)
        self.family_id = digest("family")[:16] if config else bytes(16)
        self.ext_product_id = digest("product")[:16] if config else bytes(16)

    def description(self):
        bytes_of = ("mrenclave", "mrsigner", "config_id", "family_id", "ext_product_id")
        return {name: getattr(self, name).hex() for name in bytes_of} | {
            "product": self.product,
            "svn": self.svn,
            "flags": self.flags,
            "config_svn": self.config_svn,
        }


class Request:
    """KEYREQUEST, as Intel's SDK and EGo fill it in: current in all that can be."""

    def __init__(self, machine, enclave, policy, keyid="keyid", **others):
        self.keyname, self.policy, self.svn, self.cet, self.reserved1 = SEAL, policy, enclave.svn, 0, 0
        self.cpusvn, self.flags_mask, self.xfrm_mask = machine.cpusvn, FLAGS_MASK, 0
        self.keyid, self.misc_mask = digest(keyid) if keyid else bytes(32), MISC_MASK
        self.config_svn, self.reserved2 = enclave.config_svn, bytes(434)
        for name, value in others.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def encoded(self):
        start = struct.pack("<HHHBB", self.keyname, self.policy, self.svn, self.cet, self.reserved1)
        masks = struct.pack("<QQ", self.flags_mask, self.xfrm_mask)
        end = struct.pack("<IH", self.misc_mask, self.config_svn)
        encoded = start + self.cpusvn + masks + self.keyid + end + self.reserved2
        assert len(encoded) == 512
        return encoded

    def key(self, machine, enclave):
        """EGETKEY; docs/spec/simulator.md, section 3."""
        has = lambda bit, value: value if self.policy & bit else bytes(len(value))
        dependencies = struct.pack(
            "<HHQQQQII",
            self.keyname,
            self.policy,
            enclave.flags & (self.flags_mask | INIT | DEBUG),
            3 & self.xfrm_mask,
            self.flags_mask,
            self.xfrm_mask,
            0,
            0xFFFFFFFF ^ self.misc_mask,
        )
        dependencies += machine.epoch + self.cpusvn
        dependencies += struct.pack("<HHH", self.svn, enclave.product, self.config_svn if self.policy & CONFIGID else 0)
        dependencies += has(CONFIGID, enclave.config_id) + has(FAMILYID, enclave.family_id)
        dependencies += has(EXTPRODID, enclave.ext_product_id)
        dependencies += has(MRENCLAVE, enclave.mrenclave) + has(MRSIGNER, enclave.mrsigner) + self.keyid
        dependencies += bytes([0, self.cet])
        assert len(dependencies) == 276
        return hmac.new(machine.fuses, dependencies, "sha256").digest()[:16]


def intel(key, request, secret, additional=b"", offset=None, size=None, reserved1=bytes(12), reserved2=bytes(12)):
    """sgx_sealed_data_t."""
    sealed = AESGCM(key).encrypt(bytes(12), secret, additional)
    ciphertext, tag = sealed[:-16], sealed[-16:]
    offset = len(secret) if offset is None else offset
    size = len(secret + additional) if size is None else size
    head = request.encoded() + struct.pack("<I", offset) + reserved1 + struct.pack("<I", size) + reserved2
    assert len(head) == 544
    return head + tag + ciphertext + additional


def ego(keys, requests, secret, additional=b"", size=None):
    """ecrypto.SealWith…Key of EGo."""
    info = b"".join(request.encoded() for request in requests)
    nonce = digest("nonce")[:12]
    size = len(info) if size is None else size
    return struct.pack("<I", size) + info + nonce + AESGCM(b"".join(keys)).encrypt(nonce, secret, additional)


M, E = Machine(), Enclave()
WITH_KSS = Enclave(config="configuration")
SECRET = b"correct horse battery staple"
LONG = b"".join(digest(str(number)) for number in range(400))[:12345]
ALL_KSS = MRSIGNER | CONFIGID | FAMILYID | EXTPRODID

# What sgx_seal_data made on a real processor in Intel's sample SealUnseal ("Data to encrypt" with "aad mac text").
GENUINE = (
    bytes.fromhex("0400020000000000" "1213ffff010200000000000000000000" "0b000000000000ff" "0000000000000000")
    + bytes.fromhex("ad0e1ff9e051d226693232 6daf0940508257 2e2920ca5aa75072b1273fa38c74" "000000f0")
    + bytes(512 - 76)
    + bytes.fromhex("0f000000" + "00" * 12 + "1b000000" + "00" * 12)
    + bytes.fromhex("f4185027f8dcd4ef3f9fc57122b14d09" "a79ef6d17f45bd2542cef257a29085")
    + b"aad mac text"
)


def sealed_by_intel(machine=M, enclave=E, policy=MRSIGNER, secret=SECRET, additional=b"", request=(), **layout):
    request = Request(machine, enclave, policy, **dict(request))
    return intel(request.key(machine, enclave), request, secret, additional, **layout)


def sealed_by_ego(machine=M, enclave=E, policy=MRSIGNER, secret=SECRET, additional=b"", keyids=("keyid",), size=None):
    requests = [Request(machine, enclave, policy, keyid) for keyid in keyids]
    keys = [request.key(machine, enclave) for request in requests]
    return ego(keys, requests, secret, additional, size)


def vectors():
    def vector(name, shows, blob, machine, enclave, additional, outcome):
        described = {"shows": shows, "machine": machine.description(), "enclave": enclave.description()}
        if additional is not None:
            described["additional"] = additional.hex()
        return name, blob, described | outcome

    def good(name, shows, blob, labels=(), secret=SECRET, machine=M, enclave=E, additional=None):
        start = ["imported-from", "ego" if name.startswith("ego") else "intel-sdk"]
        opened = {"secret": secret.hex(), "labels": [start, *map(list, labels)]}
        return vector("good_" + name, shows, blob, machine, enclave, additional, {"opened": opened})

    def bad(name, shows, code, blob, machine=M, enclave=E, additional=None):
        return vector("bad_" + name, shows, blob, machine, enclave, additional, {"refused": code})

    both = ("keyid", "another keyid")
    plain, with_text = sealed_by_intel(), sealed_by_intel(additional=b"wallet, version 2")
    of_ego, of_ego_256 = sealed_by_ego(), sealed_by_ego(keyids=both)
    text = [("additional-data", "wallet, version 2")]
    binary, much = bytes(range(256)) * 3, LONG[:1000]
    malformed, other = "import.malformed", "import.other_key"
    return [
        good("intel_signer", "Intel's SDK, as sgx_seal_data seals by default", plain),
        good("intel_signer_of_newer", "the same enclave's next version on newer microcode", plain, machine=Machine(microcode=6), enclave=Enclave("build 2", svn=4)),
        good("intel_measurement", "Intel's SDK, bound to MRENCLAVE", sealed_by_intel(policy=MRENCLAVE)),
        good("intel_both", "Intel's SDK, bound to MRENCLAVE and MRSIGNER", sealed_by_intel(policy=MRENCLAVE | MRSIGNER)),
        good("intel_kss", "Intel's SDK in an enclave with KSS, as by default", sealed_by_intel(enclave=WITH_KSS, policy=ALL_KSS), enclave=WITH_KSS),
        good("intel_one_byte", "the least that Intel's SDK seals", sealed_by_intel(secret=b"x"), secret=b"x"),
        good("intel_long", "a longer one", sealed_by_intel(secret=LONG), secret=LONG),
        good("intel_masks", "Intel's SDK with masks of the caller's", sealed_by_intel(request={"flags_mask": 0xFFFFFFFFFFFFFFFB, "xfrm_mask": 2, "misc_mask": 0xFFFFFFFF})),
        good("intel_text", "additional text in the blob", with_text, text),
        good("intel_text_given", "the caller says which additional text it has to be", with_text, text, additional=b"wallet, version 2"),
        good("intel_text_binary", "additional data that is no text", sealed_by_intel(additional=binary), [("additional-data-base64", base64.b64encode(binary).decode())]),
        good("intel_text_control", "additional data with a control character", sealed_by_intel(additional=b"a\n"), [("additional-data-base64", "YQo=")]),
        good("intel_text_longest", "the longest text that a label holds", sealed_by_intel(additional=b"t" * 1024), [("additional-data", "t" * 1024)]),
        good("intel_text_long_given", "additional data that no label holds, which the caller has", sealed_by_intel(additional=much), [("additional-data-sha256", hashlib.sha256(much).hexdigest())], additional=much),
        good("ego_unique", "EGo, SealWithUniqueKey", sealed_by_ego(policy=MRENCLAVE)),
        good("ego_product", "EGo, SealWithProductKey", of_ego),
        good("ego_product_of_newer", "the next version on newer microcode", of_ego, machine=Machine(microcode=6), enclave=Enclave("build 2", svn=4)),
        good("ego_unique_256", "EGo, SealWithUniqueKey256", sealed_by_ego(policy=MRENCLAVE, keyids=both)),
        good("ego_product_256", "EGo, SealWithProductKey256", of_ego_256),
        good("ego_additional", "EGo with additional data, which the caller gives", sealed_by_ego(additional=b"wallet, version 2"), text, additional=b"wallet, version 2"),
        good("ego_empty", "EGo seals nothing as well", sealed_by_ego(secret=b""), secret=b""),
        good("ego_zero_keyid", "earlier versions of EGo left the KEYID zero", sealed_by_ego(keyids=(None,))),
        bad("intel_other_build", "bound to MRENCLAVE, and another build asks", other, sealed_by_intel(policy=MRENCLAVE), enclave=Enclave("build 2")),
        bad("intel_other_signer", "bound to MRSIGNER, and another signer's enclave asks", other, plain, enclave=Enclave(signer="somebody")),
        bad("intel_other_product", "bound to MRSIGNER, and another product asks", other, plain, enclave=Enclave(product=8)),
        bad("intel_other_machine", "another processor", other, plain, machine=Machine("another")),
        bad("intel_debug", "an enclave that can be debugged", other, plain, enclave=Enclave(flags=INIT | MODE64BIT | DEBUG)),
        bad("intel_newer_microcode", "sealed on newer microcode", "machine.tcb_too_old", sealed_by_intel(machine=Machine(microcode=6))),
        bad("intel_newer_svn", "sealed by a newer version", "machine.tcb_too_old", sealed_by_intel(enclave=Enclave(svn=4))),
        bad("intel_newer_configsvn", "sealed under a newer configuration", "machine.tcb_too_old", sealed_by_intel(enclave=WITH_KSS, policy=ALL_KSS, request={"config_svn": 5}), enclave=WITH_KSS),
        bad("intel_no_kss", "bound to CONFIGID, and the enclave has none", "machine.other_identity", sealed_by_intel(enclave=WITH_KSS, policy=ALL_KSS)),
        bad("intel_other_config", "bound to another configuration", other, sealed_by_intel(enclave=WITH_KSS, policy=ALL_KSS), enclave=Enclave(config="other")),
        bad("intel_changed", "a bit of the ciphertext", other, plain[:560] + bytes([plain[560] ^ 1]) + plain[561:]),
        bad("intel_changed_tag", "a bit of the tag", other, plain[:544] + bytes([plain[544] ^ 1]) + plain[545:]),
        bad("intel_changed_keyid", "a bit of the KEYID", other, plain[:40] + bytes([plain[40] ^ 1]) + plain[41:]),
        bad("intel_changed_text", "a bit of the additional text", other, with_text[:-1] + bytes([with_text[-1] ^ 1])),
        bad("intel_moved_text", "ciphertext said to be text", other, sealed_by_intel(additional=b"text", offset=len(SECRET) - 1)),
        bad("intel_trailing", "a byte behind its end", malformed, plain + b"\0"),
        bad("intel_cut", "a byte is missing", malformed, plain[:-1]),
        bad("intel_cut_head", "ends in its head", malformed, plain[:559]),
        bad("intel_only_head", "ends with its head", malformed, plain[:560]),
        bad("intel_huge", "claims four gigabytes", malformed, sealed_by_intel(size=0xFFFFFFFF)),
        bad("intel_offset", "its text begins behind its end", malformed, sealed_by_intel(offset=len(SECRET) + 1)),
        bad("intel_nothing", "nothing is sealed", malformed, sealed_by_intel(secret=b"", additional=b"text")),
        bad("intel_reserved1", "a reserved byte of the head", malformed, sealed_by_intel(reserved1=bytes(11) + b"\1")),
        bad("intel_reserved2", "a nonce in the head, as Open Enclave has it", malformed, sealed_by_intel(reserved2=b"\1" + bytes(11))),
        bad("intel_zero_keyid", "a zero KEYID with its zero nonce", malformed, sealed_by_intel(request={"keyid": None})),
        bad("intel_no_identity", "bound to no identity", "request.invalid", sealed_by_intel(policy=0)),
        bad("intel_policy", "a policy that no processor has", "request.invalid", sealed_by_intel(policy=MRSIGNER | 64)),
        bad("intel_mask", "a mask without DEBUG", "request.invalid", sealed_by_intel(request={"flags_mask": INIT})),
        bad("intel_cet", "a CET mask", "request.invalid", sealed_by_intel(request={"cet": 1})),
        bad("intel_request_reserved", "a reserved byte of the request", "request.invalid", sealed_by_intel(request={"reserved2": bytes(433) + b"\1"})),
        bad("intel_text_other", "the caller expects another additional text", "import.additional_data", with_text, additional=b"wallet, version 1"),
        bad("intel_text_none", "the caller expects additional text, and there is none", "import.additional_data", plain, additional=b"text"),
        bad("intel_text_too_long", "additional data that no label holds", "import.additional_data", sealed_by_intel(additional=much)),
        bad("intel_real", "sealed on a real processor", "machine.wrong_backend", GENUINE),
        bad("ego_other_build", "bound to MRENCLAVE, and another build asks", other, sealed_by_ego(policy=MRENCLAVE), enclave=Enclave("build 2")),
        bad("ego_other_machine", "another processor", other, of_ego_256, machine=Machine("another")),
        bad("ego_newer_microcode", "sealed on newer microcode", "machine.tcb_too_old", sealed_by_ego(machine=Machine(microcode=6))),
        bad("ego_additional_missing", "the caller forgot the additional data", other, sealed_by_ego(additional=b"text")),
        bad("ego_additional_other", "the caller gives other additional data", other, of_ego, additional=b"text"),
        bad("ego_trailing", "a byte behind its end, which its format does not show", other, of_ego + b"\0"),
        bad("ego_cut", "a byte is missing, which its format does not show", other, of_ego[:-1]),
        bad("ego_cut_tag", "ends before its tag", malformed, sealed_by_ego(secret=b"")[:-1]),
        bad("ego_cut_request", "ends in its second request", malformed, of_ego_256[:1000]),
        bad("ego_as_256", "one request said to be two", other, sealed_by_ego(secret=LONG, size=1024)[:4] + sealed_by_ego(secret=LONG)[4:516] * 2 + sealed_by_ego(secret=LONG)[516:]),
        bad("ego_size", "key information of another size", "import.unknown", sealed_by_ego(size=513)),
        bad("other_key_name", "a key that is not for sealing", "import.unknown", sealed_by_intel(request={"keyname": 3})),
        bad("envelope", "an envelope", "import.unknown", b"\x93bulla\r\n\1"),
        bad("empty", "nothing", "import.unknown", b""),
        bad("three_bytes", "less than its first number", "import.unknown", plain[:3]),
    ]


def main():
    command, directory = sys.argv[1:]
    assert command == "make"
    for name, blob, described in vectors():
        path = pathlib.Path(directory) / (name + ".sealed")
        assert not path.exists()
        path.write_bytes(blob)
        path.with_suffix(".json").write_text(json.dumps(described, indent=2) + "\n")


if __name__ == "__main__":
    main()
