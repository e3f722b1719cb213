"""What is refused without a key in openers: step 9."""

import cbor
import hpke
from vectors.case import MALFORMED, INVALID, reader, bad
from vectors.writer import (
    ALICE,
    BOB,
    CAROL,
    GUEST,
    KSS,
    SGX,
    SIM,
    TDX,
    XENIA,
    Holder,
    Writer,
    at_machine,
    at_recipient,
    at_threshold,
    of_kind,
)


def machine_openers():
    """Step 9, machines."""

    def of(name, shows, make, who=None):
        return bad(name, shows, INVALID, Writer(name, [make]), who)

    for kind in ("snp", "tpm", "tdx-native"):
        yield of(f"kind_{kind.replace('-', '_')}", "a kind that is reserved", of_kind(kind, cbor.encode([])))
    yield of("kind_unknown", "an unknown kind", of_kind("psp", cbor.encode([])))
    yield of("kind_empty", "a kind without a name", of_kind("", cbor.encode([])))
    yield of("kind_upper_case", "a kind in upper case", of_kind("SIM", SIM.opener("x", {}, list, cbor.encode)[1]))

    cut = lambda fields: fields[:-1]
    longer = lambda fields: [*fields, 0]
    for name, shows, fields in (
        ("keypolicy_0", "a key policy that selects nothing", {"KEYPOLICY": 0}),
        ("keypolicy_only_configid", "a key policy that selects no identity", {"KEYPOLICY": 8}),
        ("keypolicy_noisvprodid", "a key policy that leaves ISVPRODID out", {"KEYPOLICY": 5}),
        ("keypolicy_reserved", "a reserved bit of the key policy", {"KEYPOLICY": 1 | 1 << 6}),
        ("keypolicy_bit_15", "the last bit of the key policy", {"KEYPOLICY": 1 | 1 << 15}),
        ("keypolicy_17_bits", "a key policy of 17 bits", {"KEYPOLICY": 1 | 1 << 16}),
        ("isvsvn_17_bits", "an ISVSVN of 17 bits", {"ISVSVN": 1 << 16}),
        ("isvsvn_text", "an ISVSVN that is a text", {"ISVSVN": "3"}),
        ("cpusvn_15", "a CPUSVN of 15 bytes", {"CPUSVN": SIM.registers["CPUSVN"][1:]}),
        ("cpusvn_text", "a CPUSVN that is a text", {"CPUSVN": "x" * 16}),
        ("configsvn_unselected", "a CONFIGSVN without CONFIGID", {"CONFIGSVN": 1}),
        ("mask_without_init", "a mask without INIT", {"FLAGSMASK": 0xFF0000000000000A}),
        ("mask_without_debug", "a mask without DEBUG", {"FLAGSMASK": 0xFF00000000000009}),
        ("miscmask_33_bits", "a MISCMASK of 33 bits", {"MISCMASK": 1 << 32}),
        ("cet_mask", "a CET mask", {"CETMASK": 1}),
        ("keyid_zero", "a KEYID of zeros", {"KEYID": bytes(32)}),
        ("keyid_31", "a KEYID of 31 bytes", {"KEYID": bytes([1]) * 31}),
        ("mrenclave_zero", "an MRENCLAVE of zeros", {"MRENCLAVE": bytes(32)}),
        ("mrsigner_zero", "an MRSIGNER of zeros", {"MRSIGNER": bytes(32)}),
        ("flags_outside_mask", "attributes that the mask leaves out", {"FLAGS": 5}),
        ("configid_unselected", "a CONFIGID that is not selected", {"CONFIGID": KSS["CONFIGID"]}),
        ("isvfamilyid_unselected", "an ISVFAMILYID that is not selected", {"ISVFAMILYID": KSS["ISVFAMILYID"]}),
        ("isvextprodid_unselected", "an ISVEXTPRODID that is not selected", {"ISVEXTPRODID": KSS["ISVEXTPRODID"]}),
        ("label_missing", "MRSIGNER without a label", {"KEYPOLICY": 2}),
        ("label_missing_with_mrenclave", "MRENCLAVE and MRSIGNER without a label", {"KEYPOLICY": 3}),
        ("label_of_measurement", "a label without MRSIGNER", {"LABEL": "wallet"}),
        ("label_65", "a label of 65 characters", {"KEYPOLICY": 2, "LABEL": "x" * 65}),
        ("label_comma", "a label with a comma", {"KEYPOLICY": 2, "LABEL": "a,b"}),
        ("label_space", "a label with a space", {"KEYPOLICY": 2, "LABEL": "a b"}),
        ("label_not_ascii", "a label beyond ASCII", {"KEYPOLICY": 2, "LABEL": "é"}),
        ("label_delete", "a label with a control character", {"KEYPOLICY": 2, "LABEL": "\x7f"}),
        ("tag_15", "a machine tag of 15 bytes", {"TAG": bytes(15)}),
    ):
        yield of("sgx_" + name, shows, at_machine(SGX, **fields), reader(SGX))
    yield of("sgx_short", "a field too few", at_machine(SGX, edit=cut), reader(SGX))
    yield of("sgx_long", "a field too many", at_machine(SGX, edit=longer), reader(SGX))
    yield of(
        "sgx_null_field",
        "null for a field at the end",
        at_machine(SGX, encode=lambda fields: cbor.encode(fields)[:-17] + b"\xf6"),
        reader(SGX),
    )
    yield of(
        "sgx_trailing",
        "bytes after the opener",
        at_machine(SGX, encode=lambda fields: cbor.encode(fields) + b"\0"),
        reader(SGX),
    )
    yield of(
        "sgx_long_integer",
        "an opener with an integer in two bytes",
        at_machine(SGX, encode=lambda fields: cbor.encode(fields).replace(b"\x92\x01", b"\x92\x18\x01", 1)),
        reader(SGX),
    )
    yield of(
        "sgx_indefinite",
        "an opener without a length",
        at_machine(SGX, encode=lambda fields: b"\x9f" + cbor.encode(fields)[1:] + b"\xff"),
        reader(SGX),
    )
    yield of(
        "sgx_map", "an opener that is a map", at_machine(SGX, edit=lambda fields: dict(enumerate(fields))), reader(SGX)
    )
    yield of("sgx_empty", "an opener of no bytes", of_kind("sgx"), reader(SGX))

    registers = list(TDX.values()) + [bytes(48)] * 4
    for name, shows, fields in (
        ("mrtd_zero", "an MRTD of zeros", {"REGISTERS": [bytes(48), *registers[1:]]}),
        ("registers_8", "eight registers", {"REGISTERS": registers[:8]}),
        ("registers_10", "ten registers", {"REGISTERS": [*registers, bytes(48)]}),
        ("register_47", "a register of 47 bytes", {"REGISTERS": [*registers[:8], bytes(47)]}),
        ("root_15", "a root id of 15 bytes", {"ROOT": bytes(15)}),
        ("provider_31", "a provider's measurement of 31 bytes", {"PROVIDER": bytes(31)}),
        ("authority_33", "an authority of 33 bytes", {"AUTHORITY": bytes(33)}),
        ("path_bytes", "a path that is a byte string", {"PATH": b"path"}),
        ("purpose_integer", "a purpose that is a number", {"PURPOSE": 1}),
    ):
        yield of("tdx_" + name, shows, at_machine(GUEST, **fields), reader(GUEST))
    owner = [2, bytes([1]) * 32, "wallet", 3]
    for name, shows, binding in (
        ("number", "a binding that is a number", 1),
        ("unknown", "an unknown binding", [3, "boot", 1]),
        ("owner_zero", "an owner of zeros", [2, bytes(32), "wallet", 3]),
        ("owner_31", "an owner of 31 bytes", [2, bytes([1]) * 31, "wallet", 3]),
        ("owner_short", "an owner without a version", owner[:3]),
        ("owner_long", "an owner and a field too many", [*owner, 0]),
        ("product_empty", "a product without a name", [*owner[:2], "", 3]),
        ("product_65", "a product of 65 characters", [*owner[:2], "x" * 65, 3]),
        ("product_space", "a product with a space", [*owner[:2], "a b", 3]),
        ("svn_33_bits", "a version of 33 bits", [*owner[:3], 1 << 32]),
        ("name_slash", "a register policy with a slash", [1, "a/b", 1]),
    ):
        edit = lambda fields, last=binding: [*fields, last]
        yield of("tdx_binding_" + name, shows, at_machine(GUEST, edit=edit), reader(GUEST))
    yield of(
        "tdx_binding_null",
        "null for the binding to the measurement",
        at_machine(GUEST, encode=lambda fields: b"\x87" + cbor.encode(fields)[1:] + b"\xf6"),
        reader(GUEST),
    )
    yield of("tdx_short", "a field too few", at_machine(GUEST, edit=cut), reader(GUEST))
    yield of("tdx_long", "a field too many", at_machine(GUEST, edit=longer), reader(GUEST))

    inner = SIM.opener("nested", {}, list, cbor.encode)[1]
    yield of(
        "sim_nested", "a simulated machine inside a simulated one", of_kind("sim", cbor.encode(["sim", inner]), SIM.key)
    )
    yield of(
        "sim_recipient",
        "a recipient as a simulated machine",
        of_kind("sim", cbor.encode(["recipient", inner]), SIM.key),
    )
    yield of(
        "sim_unknown", "an unknown kind of simulated machine", of_kind("sim", cbor.encode(["psp", inner]), SIM.key)
    )
    kind, opener = cbor.decode(inner)
    yield of("sim_short", "a simulated machine without an opener", of_kind("sim", cbor.encode([kind]), SIM.key))
    yield of("sim_long", "a field too many", of_kind("sim", cbor.encode([kind, opener, 0]), SIM.key))
    yield of(
        "sim_opener_array",
        "the inner opener outside its byte string",
        of_kind("sim", cbor.encode([kind, cbor.decode(opener)]), SIM.key),
    )
    yield of(
        "sim_inner_long_integer",
        "the inner opener with an integer in two bytes",
        at_machine(SIM, encode=lambda fields: cbor.encode(fields).replace(b"\x92\x01", b"\x92\x18\x01", 1)),
    )
    yield of("sim_inner_keyid_zero", "an inner opener that no sealer writes", at_machine(SIM, KEYID=bytes(32)))


# Points of order 1, 2, 4 and 8 on Curve25519 and its twist (RFC 7748), and encodings of other points that are not canonical.
LOW_ORDER = {
    "zero": bytes(32),
    "one": bytes([1]) + bytes(31),
    "order_8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "other_order_8": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "minus_one": (2**255 - 20).to_bytes(32, "little"),
}
NOT_CANONICAL = {
    "reduced": (2**255 - 19 + 9).to_bytes(32, "little"),
    "high_bit": bytes([9]) + bytes(30) + b"\x80",
}


def holder_openers():
    """Step 9, recipients and thresholds."""

    def recipient(name, shows, edit, holder=ALICE, **rest):
        return bad(
            "recipient_" + name,
            shows,
            MALFORMED,
            Writer("recipient_" + name, [at_recipient(holder, edit=edit, **rest)]),
            reader(None, [holder]),
        )

    def part(index, value):
        return lambda fields: [
            *fields[:index],
            value(fields[index]) if callable(value) else value,
            *fields[index + 1 :],
        ]

    for number in (0, 0x0010, 0x0021, 0x0041, 65536 + 0x20):
        yield recipient(f"kem_{number}", "an unknown KEM", part(0, number))
    yield recipient("kem_text", "a KEM that is a text", part(0, "x"))
    yield recipient("kem_other", "X-Wing's number with an X25519 key", part(0, 0x647A))
    yield recipient("public_key_31", "a public key of 31 bytes", part(1, lambda key: key[:31]))
    yield recipient("public_key_33", "a public key of 33 bytes", part(1, lambda key: key + b"\0"))
    yield recipient("public_key_text", "a public key that is a text", part(1, "x" * 32))
    for name, key in LOW_ORDER.items():
        yield recipient(f"public_key_{name}", "a public key of low order", part(1, key))
    for name, key in NOT_CANONICAL.items():
        yield recipient(f"public_key_{name}", "a public key that is not canonical", part(1, key))
    yield recipient("encapsulated_31", "an encapsulated key of 31 bytes", part(2, lambda key: key[:31]))
    yield recipient("encapsulated_empty", "no encapsulated key", part(2, b""))
    yield recipient("role_2", "an unknown role", part(3, 2))
    yield recipient("role_text", "a role that is a text", part(3, "0"))
    yield recipient("short", "no role", lambda fields: fields[:3])
    yield recipient("long", "a field too many", lambda fields: [*fields, 0])
    yield recipient("map", "an opener that is a map", lambda fields: dict(enumerate(fields)))
    yield recipient("trailing", "bytes after the opener", list, encode=lambda fields: cbor.encode(fields) + b"\0")
    yield recipient(
        "long_integer",
        "an opener with the role in two bytes",
        list,
        encode=lambda fields: cbor.encode(fields)[:-1] + b"\x18\x00",
    )
    yield recipient(
        "indefinite",
        "an opener without a length",
        list,
        encode=lambda fields: b"\x9f" + cbor.encode(fields)[1:] + b"\xff",
    )
    yield bad(
        "recipient_empty",
        "an opener of no bytes",
        MALFORMED,
        Writer("recipient_empty", [of_kind("recipient")]),
        reader(None, [ALICE]),
    )
    yield recipient("xwing_public_key_1215", "a public key of 1215 bytes", part(1, lambda key: key[1:]), XENIA)
    yield recipient(
        "xwing_public_key_unreduced",
        "an ML-KEM coefficient of 3329",
        part(1, lambda key: b"\x01" + bytes([key[1] & 0xF0 | 0x0D]) + key[2:]),
        XENIA,
    )
    yield recipient(
        "xwing_public_key_low_order",
        "an X25519 part of low order",
        part(1, lambda key: key[:-32] + LOW_ORDER["zero"]),
        XENIA,
    )
    yield recipient(
        "xwing_public_key_not_canonical",
        "an X25519 part that is not canonical",
        part(1, lambda key: key[:-32] + NOT_CANONICAL["reduced"]),
        XENIA,
    )
    yield recipient(
        "xwing_encapsulated_1119", "an encapsulated key of 1119 bytes", part(2, lambda key: key[:-1]), XENIA
    )

    holders = [ALICE, BOB, CAROL]

    def threshold(name, shows, edit=list, k=2, among=holders, **rest):
        return bad(
            "threshold_" + name,
            shows,
            MALFORMED,
            Writer("threshold_" + name, [at_threshold(k, among, edit, **rest)]),
            reader(None, holders),
        )

    def entry(index, value):
        """Changes a field of the second share."""
        return lambda fields: [fields[0], [fields[1][0], part(index, value)(fields[1][1]), *fields[1][2:]]]

    yield threshold("0", "a threshold of 0", part(0, 0))
    yield threshold("1", "a threshold of 1", k=1)
    yield threshold("above", "a threshold of more than there are shares", part(0, 4))
    yield threshold("text", "a threshold that is a text", part(0, "2"))
    yield threshold("one_share", "one share", k=1, among=[ALICE])
    yield threshold("no_share", "no share", part(1, []))
    yield threshold(
        "17_shares", "17 shares", among=[*holders, *(Holder(f"holder {i}", hpke.DhkemX25519) for i in range(14))]
    )
    yield threshold("duplicate", "two shares for one public key", among=[ALICE, BOB, ALICE])
    yield threshold("duplicate_neighbours", "two shares in a row for one public key", among=[ALICE, XENIA, XENIA])
    yield threshold("unknown_kem", "an unknown KEM", entry(0, 0x0021))
    yield threshold("public_key_low_order", "a public key of low order", entry(1, LOW_ORDER["order_8"]))
    yield threshold(
        "public_key_not_canonical", "a public key that is not canonical", entry(1, NOT_CANONICAL["high_bit"])
    )
    yield threshold("encapsulated_33", "an encapsulated key of 33 bytes", entry(2, lambda key: key + b"\0"))
    yield threshold("share_47", "an encrypted share of 47 bytes", entry(3, bytes(47)))
    yield threshold("commitment_31", "a commitment of 31 bytes", entry(4, bytes(31)))
    yield threshold(
        "share_of_4", "a share of four fields", lambda fields: [fields[0], [share[:4] for share in fields[1]]]
    )
    yield threshold(
        "share_of_6", "a share of six fields", lambda fields: [fields[0], [[*share, 0] for share in fields[1]]]
    )
    yield threshold("shares_map", "shares in a map", part(1, lambda shares: dict(enumerate(shares))))
    yield threshold("short", "no shares", lambda fields: fields[:1])
    yield threshold("long", "a field too many", lambda fields: [*fields, 0])
    yield threshold("trailing", "bytes after the opener", encode=lambda fields: cbor.encode(fields) + b"\0")
    yield threshold(
        "long_integer", "the threshold in two bytes", encode=lambda fields: b"\x82\x18\x02" + cbor.encode(fields)[2:]
    )


SECTIONS = (machine_openers, holder_openers)
