"""The keys of a provider on a simulated machine, computed again from what the documents say: docs/spec/simulator.md (EGETKEY),
docs/spec/envelope.md (the recorded request) and docs/spec/derivation.md (root and keys). Nothing of bulla runs here.

usage: formula.py fit    BULLA MACHINE RECORD
       formula.py legacy BULLA MACHINE RECORD TD
       formula.py v1     BULLA MACHINE RECORD TD PATH PURPOSE LENGTH

BULLA is the provider's executable file, MACHINE the folder of its machine, RECORD its `root.request`, TD `default` or the
description of a guest. Prints the key in hexadecimal; `fit` prints instead the recorded request with the machine tag that
belongs to it, and the root id that this gives. The others want the recorded root id to be the right one.
"""

import hashlib
import hmac
import pathlib
import sys
import tomllib

AUTHORITY = hashlib.sha256(b"bulla development authority").digest()
REGISTERS = ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER", "MROWNERCONFIG", "MRSERVICETD"]
INIT, DEBUG, MODE64BIT, KSS = 1, 2, 4, 0x80
SEAL = 4


def little(value, size):
    return value.to_bytes(size, "little")


def big(value, size):
    return value.to_bytes(size, "big")


# docs/spec/envelope.md: the encoding of the recorded request.


def cbor(data):
    """One item of arrays, byte strings, texts and unsigned integers, and what follows it."""
    kind, count = data[0] >> 5, data[0] & 31
    data = data[1:]
    if count > 23:
        size = 1 << count - 24
        count, data = int.from_bytes(data[:size], "big"), data[size:]
    if kind == 0:
        return count, data
    if kind == 2:
        return data[:count], data[count:]
    if kind == 3:
        return data[:count].decode(), data[count:]
    assert kind == 4, kind
    items = []
    for _ in range(count):
        item, data = cbor(data)
        items.append(item)
    return items, data


def whole(data):
    item, rest = cbor(data)
    assert not rest
    return item


# docs/spec/simulator.md: the enclave and EGETKEY.


def load(path):
    return tomllib.loads(pathlib.Path(path).read_text())


class Enclave:
    def __init__(self, executable, machine):
        toml = load(f"{machine}/enclave.toml")
        kss = toml.get("kss")
        measurement = toml.get("measurement") or hashlib.sha256(pathlib.Path(executable).read_bytes()).hexdigest()
        self.mrenclave = bytes.fromhex(measurement)
        self.mrsigner = bytes.fromhex(toml["signer"])
        self.product = toml["product"]
        self.flags = INIT | MODE64BIT | (DEBUG if toml.get("debug") else 0) | (KSS if kss is not None else 0)
        self.xfrm, self.misc = int(load(f"{machine}/machine.toml")["xfrm"], 16), 0
        text = lambda name, size: bytes.fromhex((kss or {}).get(name, "00" * size))
        self.config_id, self.family, self.ext_product = text("config_id", 64), text("family_id", 16), text("ext_product_id", 16)


def egetkey(machine, enclave, request):
    policy, isvsvn, cpusvn, configsvn, flags_mask, xfrm_mask, misc_mask, cet_mask, keyid = request[:9]
    selected = lambda bit, value: value if policy >> bit & 1 else bytes(len(value))
    dependencies = b"".join(
        [
            little(SEAL, 2),
            little(policy, 2),
            little(enclave.flags & (flags_mask | INIT | DEBUG), 8),
            little(enclave.xfrm & xfrm_mask, 8),
            little(flags_mask, 8),
            little(xfrm_mask, 8),
            little(enclave.misc & misc_mask, 4),
            little(~misc_mask & 0xFFFFFFFF, 4),
            bytes.fromhex(machine["owner_epoch"]),
            cpusvn,
            little(isvsvn, 2),
            little(0 if policy >> 2 & 1 else enclave.product, 2),
            selected(3, little(configsvn, 2)),
            selected(3, enclave.config_id),
            selected(4, enclave.family),
            selected(5, enclave.ext_product),
            selected(0, enclave.mrenclave),
            selected(1, enclave.mrsigner),
            keyid,
            b"\0",
            little(cet_mask, 1),
        ]
    )
    assert len(dependencies) == 276
    return hmac.digest(bytes.fromhex(machine["seal_fuses"]), dependencies, "sha256")[:16]


# docs/spec/derivation.md.


def hkdf(ikm, info, length):
    secret = hmac.digest(bytes(32), ikm, "sha256")
    output, block = b"", b""
    while len(output) < length:
        block = hmac.digest(secret, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:length]


def info(label, parts=()):
    strings = [label.encode()]
    for name, value in parts:
        strings += [name.encode(), value]
    return b"".join(big(len(string), 4) + string for string in strings)


def sgx_request(request):
    kind, inner = whole(request)
    assert kind == "sgx"
    return whole(inner)


def machine_tag(executable, folder, request):
    """docs/spec/envelope.md: no identity and no security version is selected."""
    _, _, cpusvn, _, flags_mask, xfrm_mask, misc_mask, _, keyid = sgx_request(request)[:9]
    selectors = [0, 0, bytes(len(cpusvn)), 0, flags_mask, xfrm_mask, misc_mask, 0, keyid]
    return egetkey(load(f"{folder}/machine.toml"), Enclave(executable, folder), selectors)


def root_of(executable, folder, kind, request):
    fields = sgx_request(request)
    machine_key = egetkey(load(f"{folder}/machine.toml"), Enclave(executable, folder), fields)
    parts = [
        ("custody", b"hardware"),
        ("authority", AUTHORITY),
        ("epoch", big(1, 4)),
        ("kind", kind.encode()),
        ("request", request),
    ]
    root = hkdf(machine_key, info("bulla/provider/root/v1", parts), 32)
    return root, hkdf(root, info("bulla/provider/root-id/v1"), 16)


class Guest:
    def __init__(self, td):
        toml = {} if td == "default" else load(td)
        default = lambda name: hashlib.sha384(b"bulla simulated guest " + name.encode()).hexdigest()
        measured = {name: default(name) for name in REGISTERS[:5]}
        zero = {name: "00" * 48 for name in REGISTERS[5:]}
        described = {name: toml[name.lower()] for name in REGISTERS if name.lower() in toml}
        self.registers = {name: bytes.fromhex(value) for name, value in (measured | zero | described).items()}
        number = lambda value: value if isinstance(value, int) else int(value, 16)
        self.attributes = number(toml.get("attributes", 0x10000000)) | (1 if toml.get("debug") else 0)
        self.xfam = number(toml.get("xfam", 0xE7))


def legacy(root, guest):
    seal_key = hkdf(root, info("bulla legacy v0"), 16)
    return hashlib.sha256(seal_key + b"".join(guest.registers[name] for name in REGISTERS[:5])).digest()


def v1(root, root_id, guest, path, purpose, length):
    attributes_mask, xfam_mask = 0x80000000300000FF, 0
    parts = [
        ("format version", b"\x01"),
        ("algorithm", b"hkdf-sha256"),
        ("length", big(length, 2)),
        ("root id", root_id),
        ("authority", AUTHORITY),
        ("binding", b"measurement"),
        ("register policy", b"measurement"),
        ("register policy version", big(1, 4)),
        *((name, guest.registers[name]) for name in REGISTERS),
        ("ATTRIBUTES mask", big(attributes_mask, 8)),
        ("ATTRIBUTES", big(guest.attributes & attributes_mask, 8)),
        ("XFAM mask", big(xfam_mask, 8)),
        ("XFAM", big(guest.xfam & xfam_mask, 8)),
        ("path", path.encode()),
        ("purpose", purpose.encode()),
    ]
    return hkdf(root, info("bulla/derived-key/v1", parts), length)


def main():
    what, executable, folder, path, *rest = sys.argv[1:]
    recorded = load(path)
    (record,) = recorded["epoch"]
    assert (recorded["version"], record["number"], record["kind"]) == (1, 1, "sim")
    request = bytes.fromhex(record["request"])
    tag = machine_tag(executable, folder, request)
    if what == "fit":
        request = request[: -len(tag)] + tag
        print(request.hex(), root_of(executable, folder, record["kind"], request)[1].hex())
        return
    assert request.endswith(tag), "the recorded machine tag is of another machine"
    root, root_id = root_of(executable, folder, record["kind"], request)
    assert record["root_id"] == root_id.hex(), "the recorded root id is of another root"
    if what == "legacy":
        (td,) = rest
        print(legacy(root, Guest(td)).hex())
    else:
        td, key_path, purpose, length = rest
        assert what == "v1", what
        print(v1(root, root_id, Guest(td), key_path, purpose, int(length)).hex())


main()
