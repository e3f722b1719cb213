"""What is refused without a key: steps 1 to 8 and 10 to 12."""

import struct
import unicodedata

import cbor
from envelope import (
    CONTEXT,
    CREATED,
    CRITICAL,
    EPOCH,
    ID,
    LABELS,
    MAGIC,
    MAX_HEADER,
    MAX_U64,
    ORIGIN,
    SALT,
    SLOTS,
    SUITE,
    VERSION,
)
from vectors.case import MALFORMED, UNSUPPORTED, TRUNCATED, reader, bad
from vectors.writer import ALICE, BOB, CALLER, GUEST, SGX, SIM, Writer, at_machine, at_recipient, at_threshold, drawn


def framing():
    """Steps 1 to 4."""
    envelope = Writer("frame").envelope()
    yield bad("magic", "not an envelope", "envelope.magic", b"x" + envelope[1:])
    yield bad("magic_line_end", "a transfer rewrote the line end", "envelope.magic", MAGIC[:6] + envelope[7:])
    yield bad("magic_eighth_bit", "a transfer stripped the eighth bit", "envelope.magic", b"\x13" + envelope[1:])
    yield bad("nothing", "an empty file", TRUNCATED, b"")
    yield bad("magic_cut", "a beginning of the magic", TRUNCATED, envelope[:5])
    yield bad("version_missing", "the magic alone", TRUNCATED, envelope[:8])
    for version in (0, 2, 255):
        yield bad(
            f"version_{version}",
            f"version {version}",
            "envelope.version",
            Writer(f"version_{version}", version=version),
        )
    yield bad("length_cut", "three bytes of the header length", TRUNCATED, envelope[:12])
    start = MAGIC + bytes([VERSION])
    yield bad(
        "header_too_long",
        "a header length of 65537 with nothing behind it",
        MALFORMED,
        start + struct.pack(">I", MAX_HEADER + 1),
    )
    yield bad(
        "header_far_too_long", "the largest header length there is", MALFORMED, start + b"\xff" * 4 + envelope[13:]
    )
    yield bad("header_cut", "a header of 65536 bytes of which one is there", TRUNCATED, start + b"\0\1\0\0" + b"\xa6")
    size = int.from_bytes(envelope[9:13], "big")
    yield bad("checksum_cut", "15 bytes of the checksum", TRUNCATED, envelope[: 13 + size + 15])
    flipped = bytearray(envelope)
    flipped[13 + size] ^= 1
    yield bad("checksum", "a bit of the checksum changed", "envelope.checksum", bytes(flipped))
    for at, what in ((12, "header length"), (40, "header")):
        flipped = bytearray(envelope)
        flipped[at] ^= 0x10 if at == 40 else 1
        yield bad(
            f"checksum_of_{what.replace(' ', '_')}", f"a bit of the {what} changed", "envelope.checksum", bytes(flipped)
        )


def header_keys():
    """Step 5."""

    def encoded(name, shows, code, encode):
        return bad(name, shows, code, Writer(name, encode=encode))

    def added(key, value=b"\x00"):
        """One more entry, last in the map."""
        return lambda header: cbor.head(cbor.MAP, len(header) + 1) + cbor.encode(header)[1:] + key + value

    yield encoded("header_empty", "a header of no bytes", MALFORMED, lambda header: b"")
    yield encoded(
        "header_array",
        "a header that is an array",
        MALFORMED,
        lambda header: cbor.encode([header[key] for key in sorted(header)]),
    )
    yield encoded(
        "header_tagged", "a header with a tag", MALFORMED, lambda header: b"\xd9\xd9\xf7" + cbor.encode(header)
    )
    yield encoded(
        "header_indefinite",
        "a map without a length",
        MALFORMED,
        lambda header: b"\xbf" + cbor.encode(header)[1:] + b"\xff",
    )
    yield encoded(
        "header_short_of_an_entry",
        "a map of one entry more than there is",
        MALFORMED,
        lambda header: b"\xa7" + cbor.encode(header)[1:],
    )
    yield encoded(
        "header_huge_count",
        "a map of 2⁶⁴ - 1 entries",
        MALFORMED,
        lambda header: b"\xbb" + b"\xff" * 8 + cbor.encode(header)[1:],
    )
    yield encoded(
        "header_inner_cut",
        "a header that ends within its last value",
        MALFORMED,
        lambda header: cbor.encode(header)[:-1],
    )
    for key in (9, 11, 12, 13, 14, 15, 65536, MAX_U64):
        name = "last_number" if key == MAX_U64 else str(key)
        yield encoded(
            f"key_{name}", f"header key {key}, which is reserved", UNSUPPORTED, added(cbor.encode(key), b"\x41x")
        )
    yield encoded(
        "key_9_of_any_type",
        "a reserved key whose value is of types that no known field has",
        UNSUPPORTED,
        added(b"\x09", b"\xc1\x9f\xf9\x3c\x00\xa1\xf6\x20\x5f\x41x\xff\xff"),
    )
    yield encoded(
        "key_9_deep",
        "a reserved key whose value nests 1000 arrays",
        UNSUPPORTED,
        added(b"\x09", b"\x81" * 1000 + b"\x00"),
    )
    yield encoded(
        "key_9_after_unknown_types",
        "a reserved key behind a field of types that no known field has",
        UNSUPPORTED,
        lambda header: b"\xa8"
        + cbor.encode(header)[1:]
        + b"\x07\xc1\x9f\xf9\x3c\x00\xa1\xf6\x20\x5f\x41x\xff\xff"
        + b"\x09\x00",
    )
    yield encoded("key_text", "a key that is a text", MALFORMED, added(b"\x61x"))
    yield encoded("key_negative", "a key that is negative", MALFORMED, added(b"\x20"))
    yield encoded("key_bytes", "a key that is a byte string", MALFORMED, added(b"\x41\x07"))
    yield encoded("key_null", "a key that is null", MALFORMED, added(b"\xf6"))


def encodings():
    """Step 6: everything in one encoding only."""

    def replaced(name, shows, old, new, header=None, tail=b""):
        def encode(header):
            encoded = cbor.encode(header)
            assert encoded.count(old) == 1, (name, encoded.count(old))
            return encoded.replace(old, new) + tail

        return bad(name, shows, MALFORMED, Writer(name, header=header, encode=encode))

    salt = drawn("salt", 32)
    own = {SALT: salt}
    yield bad(
        "trailing_cbor",
        "an item after the map",
        MALFORMED,
        Writer("trailing_cbor", encode=lambda header: cbor.encode(header) + b"\0"),
    )
    yield replaced("long_map_head", "the number of entries in two bytes", b"\xa6\x00\x01", b"\xb8\x06\x00\x01")
    yield replaced("long_key", "a key in two bytes", b"\xa6\x00\x01\x01", b"\xa6\x00\x01\x18\x01")
    yield replaced("long_integer", "the suite in two bytes", b"\xa6\x00\x01", b"\xa6\x00\x18\x01")
    yield replaced(
        "long_integer_64",
        "a creation time in eight bytes where four do",
        b"\x04\x1a\x65\x53\xf1\x00",
        b"\x04\x1b\0\0\0\0\x65\x53\xf1\x00",
        {CREATED: 1700000000},
    )
    yield replaced(
        "long_bytes_head", "the length of a byte string in three bytes", b"\x58\x20" + salt, b"\x59\0\x20" + salt, own
    )
    yield replaced(
        "long_text_head",
        "the length of a text in three bytes",
        b"\x71" + CALLER.encode(),
        b"\x79\0\x11" + CALLER.encode(),
    )
    yield replaced("long_array_head", "the number of slots in two bytes", b"\x05\x81\x84", b"\x05\x98\x01\x84")
    yield replaced(
        "indefinite_bytes",
        "a byte string in pieces",
        b"\x02\x58\x20" + salt,
        b"\x02\x5f\x50" + salt[:16] + b"\x50" + salt[16:] + b"\xff",
        own,
    )
    yield replaced(
        "indefinite_text", "a text in pieces", b"\x71" + CALLER.encode(), b"\x7f\x71" + CALLER.encode() + b"\xff"
    )
    yield replaced("indefinite_array", "an array without a length", b"\x06\x80", b"\x06\x9f\xff")
    yield replaced(
        "indefinite_labels",
        "labels without a length",
        b"\x07\xa1\x61a\x61b",
        b"\x07\xbf\x61a\x61b\xff",
        {LABELS: {"a": "b"}},
    )
    yield replaced("duplicate_key", "the suite twice", b"\xa6\x00\x01", b"\xa7\x00\x01\x00\x01")
    yield replaced(
        "key_order",
        "the salt before the envelope id",
        b"\x01\x50" + Writer("key_order").header[ID] + b"\x02\x58\x20" + salt,
        b"\x02\x58\x20" + salt + b"\x01\x50" + Writer("key_order").header[ID],
        own,
    )
    yield replaced(
        "label_order",
        "labels in the order of their texts, not of their encodings",
        b"\x61b\x60\x62aa\x60",
        b"\x62aa\x60\x61b\x60",
        {LABELS: {"aa": "", "b": ""}},
    )
    yield replaced(
        "label_order_same_length",
        "labels of one length out of order",
        b"\x61a\x60\x61b\x60",
        b"\x61b\x60\x61a\x60",
        {LABELS: {"a": "", "b": ""}},
    )
    yield replaced(
        "label_twice",
        "a label twice",
        b"\x07\xa2\x61a\x60\x61b\x60",
        b"\x07\xa2\x61a\x60\x61a\x60",
        {LABELS: {"a": "", "b": ""}},
    )
    yield replaced(
        "tagged_value",
        "a creation time with the tag of one",
        b"\x04\x1a\x65\x53\xf1\x00",
        b"\x04\xc1\x1a\x65\x53\xf1\x00",
        {CREATED: 1700000000},
    )
    yield replaced(
        "bignum",
        "a creation time as a bignum",
        b"\x04\x1b" + b"\xff" * 8,
        b"\x04\xc2\x48" + b"\xff" * 8,
        {CREATED: MAX_U64},
    )
    yield replaced("float", "a creation time as a float", b"\x04\x01", b"\x04\xf9\x3c\x00", {CREATED: 1})
    yield replaced("negative", "a negative creation time", b"\x04\x01", b"\x04\x20", {CREATED: 1})
    yield replaced("boolean", "a creation time that is true", b"\x04\x01", b"\x04\xf5", {CREATED: 1})
    yield replaced(
        "extension_twice",
        "an extension twice",
        b"\xa8\x00\x01",
        b"\xa9\x00\x01",
        {16: b"x", 17: b"y"},
        tail=b"\x11\x41y",
    )
    yield replaced(
        "extension_order", "extensions out of order", b"\x10\x41x\x11\x41y", b"\x11\x41y\x10\x41x", {16: b"x", 17: b"y"}
    )
    yield replaced(
        "known_key_last",
        "a known key behind an extension",
        b"\x08\x05\x10\x41x",
        b"\x10\x41x\x08\x05",
        {EPOCH: 5, 16: b"x"},
    )
    yield replaced("deep", "10000 arrays one in the other", b"\x06\x80", b"\x06" + b"\x81" * 10000 + b"\x80")
    for key, name in ((CREATED, "created"), (EPOCH, "epoch"), (ORIGIN, "origin")):
        entry = bytes([key])
        yield replaced(
            f"{name}_null",
            "an absent field written as null",
            entry + b"\x1a\x01\x02\x03\x04",
            entry + b"\xf6",
            {key: 0x01020304},
        )
        yield replaced(
            f"{name}_undefined",
            "an absent field written as undefined",
            entry + b"\x1a\x01\x02\x03\x04",
            entry + b"\xf7",
            {key: 0x01020304},
        )
    yield replaced(
        "labels_null", "absent labels written as null", b"\x07\xa1\x61a\x61b", b"\x07\xf6", {LABELS: {"a": "b"}}
    )
    yield replaced(
        "reserved_length", "a length of the reserved form", b"\x71" + CALLER.encode(), b"\x7c" + CALLER.encode()
    )
    yield replaced(
        "huge_length", "a text of 2⁶⁴ - 1 bytes", b"\x71" + CALLER.encode(), b"\x7b" + b"\xff" * 8 + CALLER.encode()
    )
    yield replaced(
        "context_not_utf8", "a context that is not UTF-8", b"\x71" + CALLER.encode(), b"\x71\xff" + CALLER.encode()[1:]
    )
    yield replaced(
        "context_surrogate",
        "a context with a surrogate, which is not UTF-8",
        b"\x71" + CALLER.encode(),
        b"\x71\xed\xa0\x80" + CALLER.encode()[3:],
    )
    yield replaced(
        "label_not_utf8",
        "a label that is not UTF-8",
        b"\x07\xa1\x61a\x61b",
        b"\x07\xa1\x61a\x61\xc0",
        {LABELS: {"a": "b"}},
    )


def types():
    """Step 6: what each field is."""

    def with_header(name, shows, header):
        return bad(name, shows, MALFORMED, Writer(name, header=header))

    names = {SUITE: "suite", ID: "id", SALT: "salt", CONTEXT: "context", SLOTS: "slots", CRITICAL: "critical"}
    for key, name in names.items():
        yield with_header(f"{name}_missing", f"no key {key}", {key: None})
    yield with_header("suite_text", "a suite that is a text", {SUITE: "1"})
    yield with_header("suite_65536", "a suite of more than 16 bits", {SUITE: 65536})
    yield with_header("id_15", "an envelope id of 15 bytes", {ID: bytes(15)})
    yield with_header("id_17", "an envelope id of 17 bytes", {ID: bytes(17)})
    yield with_header("id_text", "an envelope id that is a text", {ID: "x" * 16})
    yield with_header("salt_31", "a payload salt of 31 bytes", {SALT: bytes(31)})
    yield with_header("salt_33", "a payload salt of 33 bytes", {SALT: bytes(33)})
    yield with_header("context_bytes", "a context that is a byte string", {CONTEXT: CALLER.encode()})
    yield with_header("created_text", "a creation time that is a text", {CREATED: "2024"})
    yield with_header("slots_map", "slots in a map", {SLOTS: {}})
    yield with_header("slots_bytes", "slots in a byte string", {SLOTS: b""})
    yield with_header("critical_text", "a critical key that is a text", {CRITICAL: ["x"]})
    yield with_header("critical_integer", "a critical key outside an array", {CRITICAL: 16})
    yield with_header("labels_array", "labels in an array", {LABELS: ["a", "b"]})
    yield with_header("label_name_integer", "a label whose name is a number", {LABELS: {1: "b"}})
    yield with_header("label_value_integer", "a label whose value is a number", {LABELS: {"a": 1}})
    yield with_header("label_value_bytes", "a label whose value is a byte string", {LABELS: {"a": b"b"}})
    yield with_header("epoch_text", "an epoch that is a text", {EPOCH: "1"})
    yield with_header("origin_text", "an origin that is a text", {ORIGIN: "0"})
    yield with_header("extension_integer", "an extension that is a number", {16: 1})
    yield with_header("extension_text", "an extension that is a text", {65535: "x"})

    def with_slot(name, shows, edit):
        return bad(name, shows, MALFORMED, Writer(name, slot=edit))

    yield with_slot("slot_of_3", "a slot of three fields", lambda slot: slot[:3])
    yield with_slot("slot_of_5", "a slot of five fields", lambda slot: [*slot, 0])
    yield with_slot("slot_map", "a slot that is a map", lambda slot: dict(enumerate(slot)))
    yield with_slot("slot_kind_bytes", "a kind that is a byte string", lambda slot: [slot[0].encode(), *slot[1:]])
    yield with_slot("slot_salt_31", "a slot's salt of 31 bytes", lambda slot: [slot[0], slot[1][:31], *slot[2:]])
    yield with_slot("slot_salt_33", "a slot's salt of 33 bytes", lambda slot: [slot[0], slot[1] + b"x", *slot[2:]])
    yield with_slot(
        "slot_opener_array", "an opener outside a byte string", lambda slot: [*slot[:2], cbor.decode(slot[2]), slot[3]]
    )
    yield with_slot("slot_opener_text", "an opener that is a text", lambda slot: [*slot[:2], "x", slot[3]])
    yield with_slot("slot_wrapped_47", "a wrapped file key of 47 bytes", lambda slot: [*slot[:3], slot[3][:47]])
    yield with_slot("slot_wrapped_49", "a wrapped file key of 49 bytes", lambda slot: [*slot[:3], slot[3] + b"x"])


def bounds():
    """Steps 7 and 8."""

    def with_header(name, shows, code, header, who=None):
        return bad(name, shows, code, Writer(name, header=header), who)

    for suite in (0, 2, 65535):
        yield with_header(f"suite_{suite}", "an unknown suite", UNSUPPORTED, {SUITE: suite})
    yield with_header("critical_extension", "a critical extension", UNSUPPORTED, {CRITICAL: [16], 16: b""})
    yield with_header("critical_absent", "a critical key that is not there", UNSUPPORTED, {CRITICAL: [17]})
    yield with_header("critical_known", "a critical key that every reader understands", UNSUPPORTED, {CRITICAL: [0]})
    yield with_header("context_empty", "an empty context", MALFORMED, {CONTEXT: ""})
    yield with_header("context_1025", "a context of 1025 bytes", MALFORMED, {CONTEXT: "x" * 1025})
    yield with_header(
        "context_1026_of_513", "a context of 513 characters and 1026 bytes", MALFORMED, {CONTEXT: "é" * 513}
    )
    yield with_header("labels_none", "labels that are there, and none of them", MALFORMED, {LABELS: {}})
    yield with_header("labels_33", "33 labels", MALFORMED, {LABELS: {f"label {i}": "" for i in range(33)}})
    yield with_header("label_name_empty", "a label without a name", MALFORMED, {LABELS: {"": "x"}})
    yield with_header("label_name_65", "a label's name of 65 bytes", MALFORMED, {LABELS: {"n" * 65: "x"}})
    yield with_header(
        "label_name_66_of_33", "a label's name of 33 characters and 66 bytes", MALFORMED, {LABELS: {"é" * 33: "x"}}
    )
    yield with_header("label_value_1025", "a label's value of 1025 bytes", MALFORMED, {LABELS: {"a": "v" * 1025}})
    yield with_header("epoch_0", "epoch 0", MALFORMED, {EPOCH: 0})
    yield bad(
        "65_slots",
        "one slot too many",
        MALFORMED,
        Writer("65_slots", [at_recipient(ALICE)] * 65),
        reader(None, [ALICE]),
    )


def agreements():
    """Steps 10 to 12."""
    yield bad(
        "mixed_slots",
        "a simulated machine and a real one",
        MALFORMED,
        Writer("mixed_slots", [at_machine(SIM), at_machine(SGX)]),
    )
    yield bad(
        "mixed_slots_apart",
        "the same, with a recipient between them",
        MALFORMED,
        Writer("mixed_slots_apart", [at_machine(GUEST), at_recipient(ALICE), at_machine(SIM)]),
        reader(None, [ALICE]),
    )
    yield bad(
        "origin_of_no_slot", "an origin of a slot that is not there", MALFORMED, Writer("origin_of_no_slot", origin=1)
    )
    yield bad("origin_far", "an origin of slot 2⁶⁴ - 1", MALFORMED, Writer("origin_far", origin=MAX_U64))
    yield bad(
        "origin_of_recipient",
        "an origin of a recipient",
        MALFORMED,
        Writer("origin_of_recipient", [at_machine(SIM), at_recipient(ALICE)], origin=1),
    )
    yield bad(
        "origin_of_threshold",
        "an origin of a threshold",
        MALFORMED,
        Writer("origin_of_threshold", [at_threshold(2, [ALICE, BOB])], origin=0),
        reader(None, [ALICE, BOB]),
    )
    nobody = Writer("origin_of_nobody", [], origin=0)
    yield bad("origin_of_nobody", "an origin, and no slot at all", MALFORMED, nobody)

    whole = Writer("mac_cut")
    yield bad("mac_missing", "nothing after the checksum", TRUNCATED, whole.start())
    yield bad("mac_cut", "31 bytes of the header MAC", TRUNCATED, whole.head()[:-1])

    for name, shows, context in (
        ("other", "another context", "bulla/test-vector-2"),
        ("shorter", "a beginning of the context", CALLER[:-1]),
        ("case", "a context in another case", CALLER.upper()),
    ):
        yield bad(
            f"context_{name}", shows, "envelope.other_context", Writer(f"context_{name}"), reader(context=context)
        )
    composed, decomposed = "naïve", unicodedata.normalize("NFD", "naïve")
    yield bad(
        "context_normalised",
        "a context that looks the same",
        "envelope.other_context",
        Writer("context_normalised", header={CONTEXT: decomposed}),
        reader(context=composed),
    )


SECTIONS = (framing, header_keys, encodings, types, bounds, agreements)
