"""Envelopes that open, and shares that do or do not."""

import cbor
import hpke
from envelope import CHUNK, CONTEXT, CREATED, EPOCH, LABELS, MAX_HEADER, MAX_U64, SUCCESSOR
from vectors.case import LONG, reader, floor, good, bad
from vectors.writer import (
    ALICE,
    BOB,
    CAROL,
    GUEST,
    KSS,
    OTHER_SIM,
    SGX,
    SIM,
    SIM_KSS,
    SIM_TDX,
    XENIA,
    Holder,
    Writer,
    at_machine,
    at_recipient,
    at_threshold,
    drawn,
    undecryptable,
)


def payloads():
    for name, shows, length in (
        ("empty", "no secret at all: one empty chunk", 0),
        ("one_byte", "a secret of one byte", 1),
        ("one_chunk", "a secret that fills one chunk", CHUNK),
        ("two_chunks", "a secret of one byte more than a chunk", CHUNK + 1),
    ):
        yield good(name, shows, Writer(name, secret=LONG[:length]), secret=LONG[:length])


def headers():
    def with_header(name, shows, header, **rest):
        return good(name, shows, Writer(name, header=header), **rest)

    yield with_header("created", "a creation time", {CREATED: 1700000000})
    yield with_header("created_at_0", "the first creation time there is", {CREATED: 0})
    yield with_header("created_latest", "the last creation time there is", {CREATED: MAX_U64})
    yield with_header(
        "labels",
        "labels, in the order of their encodings: shorter names first",
        {LABELS: {"b": "", "aa": "naïve ✓", "ab": "x", "für wen": "alle"}},
    )
    limits = {f"label {i}": "" for i in range(30)} | {"n" * 64: "a name of 64 bytes", "value": "v" * 1024}
    yield with_header("labels_limits", "32 labels, a name of 64 bytes, a value of 1024", {LABELS: limits})
    yield with_header("epoch", "an epoch above the one demanded", {EPOCH: 8}, who=reader(epoch=7))
    yield with_header("epoch_same", "the very epoch that is demanded", {EPOCH: 7}, who=reader(epoch=7))
    yield with_header("epoch_last", "the last epoch there is", {EPOCH: MAX_U64}, who=reader(epoch=MAX_U64))
    yield with_header("extensions", "extensions that a reader may ignore", {16: b"", 300: bytes(300), 65535: b"last"})
    yield with_header("everything", "every optional field", {CREATED: 1, LABELS: {"a": "b"}, EPOCH: 1, 16: b"x"})
    yield with_header("context_1", "a context of one byte", {CONTEXT: "x"}, who=reader(context="x"))
    yield with_header("context_1024", "a context of 1024 bytes", {CONTEXT: "é" * 512}, who=reader(context="é" * 512))
    empty = len(cbor.encode(Writer("longest", header={16: bytes(60000)}).header)) - 60000
    longest = Writer("longest", header={16: bytes(MAX_HEADER - empty)})
    assert len(cbor.encode(longest.header)) == MAX_HEADER
    yield good("header_longest", "a header of 65536 bytes", longest)


def machines():
    yield good("sim", "a simulated SGX machine: the plain case", Writer("sim"))
    yield good(
        "sim_tdx_provider", "a simulated TDX guest", Writer("sim_tdx_provider", [at_machine(SIM_TDX)]), reader(SIM_TDX)
    )
    yield good("sgx", "an SGX enclave", Writer("sgx", [at_machine(SGX)]), reader(SGX))
    yield good(
        "tdx_provider", "a TDX guest with its key provider", Writer("tdx_provider", [at_machine(GUEST)]), reader(GUEST)
    )
    # Another image than the one that sealed: its provider gives it the key, by a manifest or because no bound register differs.
    next_image = GUEST.description(RTMR3=drawn("rtmr3 of the next image", 48))
    for name, shows, binding in (
        ("owner", "a key bound to a product of an owner", [2, drawn("owner", 32), "wallet-2.x_b", (1 << 32) - 1]),
        ("register_policy", "a key bound to the registers of a register policy", [1, "boot", 0]),
    ):
        writer = Writer("tdx_" + name, [at_machine(GUEST, edit=lambda fields, last=binding: [*fields, last])])
        yield good("tdx_" + name, shows, writer, {**reader(GUEST), "machine": next_image})
    yield good(
        "sgx_and_tdx",
        "two machines of different kinds, opened by the second",
        Writer("sgx_and_tdx", [at_machine(SGX), at_machine(GUEST)]),
        reader(GUEST),
        slot=1,
    )

    other = {"MRENCLAVE": drawn("another mrenclave", 32)}
    signer = at_machine(SIM, KEYPOLICY=2, ISVSVN=2, LABEL="wallet")
    yield good(
        "policy_signer",
        "the policy `signer`, opened by another enclave of the same signer",
        Writer("policy_signer", [signer]),
        reader(registers={**other, "ISVSVN": 2}),
    )
    yield good(
        "policy_signer_label_64",
        "a label of 64 characters, of both ends of what is allowed",
        Writer("policy_signer_label_64", [at_machine(SIM, KEYPOLICY=2, LABEL="!~" * 32)]),
    )
    yield good(
        "policy_registers",
        "the policy `registers` with MRENCLAVE and MRSIGNER",
        Writer("policy_registers", [at_machine(SIM, KEYPOLICY=3, LABEL="wallet")]),
    )
    named = {name: KSS[name] for name in ("CONFIGID", "ISVFAMILYID", "ISVEXTPRODID")}
    yield good(
        "policy_kss",
        "every register that can be selected",
        Writer("policy_kss", [at_machine(SIM_KSS, KEYPOLICY=0x3B, CONFIGSVN=2, LABEL="wallet", **named)]),
        reader(SIM_KSS),
    )
    for name, bits in (("CONFIGID", 9), ("ISVFAMILYID", 17), ("ISVEXTPRODID", 33)):
        lower = name.lower()
        version = {"CONFIGSVN": 2} if name == "CONFIGID" else {}
        yield good(
            f"policy_{lower}",
            f"MRENCLAVE and {name}, and the other ids differ",
            Writer(f"policy_{lower}", [at_machine(SIM_KSS, KEYPOLICY=bits, **version, **{name: KSS[name]})]),
            reader(
                SIM_KSS, registers={other: drawn("another id", len(KSS[other])) for other in named if other != name}
            ),
        )
    yield good(
        "newer_svn", "an enclave of a later security version", Writer("newer_svn"), reader(registers={"ISVSVN": 4})
    )
    yield good(
        "newer_configsvn",
        "a later CONFIGSVN",
        Writer("newer_configsvn", [at_machine(SIM_KSS, KEYPOLICY=9, CONFIGSVN=2, CONFIGID=KSS["CONFIGID"])]),
        reader(SIM_KSS, registers={"CONFIGSVN": 3}),
    )
    yield good(
        "other_signer",
        "the policy `measurement`, and the same enclave signed by somebody else",
        Writer("other_signer"),
        reader(registers={"MRSIGNER": drawn("another mrsigner", 32)}),
    )
    yield good(
        "wider_xfrm",
        "an enclave with more extended features",
        Writer("wider_xfrm"),
        reader(registers={"ATTRIBUTES.XFRM": 0xE7}),
    )


def recipients():
    yield good(
        "recipient_x25519",
        "a recipient with an X25519 key",
        Writer("recipient_x25519", [at_recipient(ALICE)]),
        reader(None, [ALICE]),
    )
    yield good(
        "recipient_xwing",
        "a recipient with an X-Wing key",
        Writer("recipient_xwing", [at_recipient(XENIA)]),
        reader(None, [XENIA]),
    )
    yield good(
        "recipient_successor",
        "a slot for the next identity",
        Writer("recipient_successor", [at_recipient(ALICE, SUCCESSOR)]),
        reader(None, [ALICE]),
    )
    yield good(
        "recipient_second",
        "two recipients, opened by the second",
        Writer("recipient_second", [at_recipient(ALICE), at_recipient(XENIA)]),
        reader(None, [XENIA]),
        slot=1,
    )
    yield good(
        "recipient_many_keys",
        "a reader with more keys than it needs",
        Writer("recipient_many_keys", [at_recipient(BOB)]),
        reader(SGX, [ALICE, XENIA, BOB]),
    )
    yield good(
        "recipient_twice",
        "two slots for one key, the first of them damaged",
        Writer(
            "recipient_twice",
            [at_recipient(ALICE), at_recipient(ALICE, SUCCESSOR)],
            slot=lambda slot: [*slot[:3], bytes(48)] if slot[2][-1] == 0 else slot,
        ),
        reader(None, [ALICE]),
        slot=1,
    )


def thresholds():
    writer = Writer("threshold", [at_threshold(2, [ALICE, BOB, XENIA])])
    for keys in ((ALICE, BOB), (ALICE, XENIA), (XENIA, BOB), (ALICE, BOB, XENIA)):
        indices = sorted([ALICE, BOB, XENIA].index(key) + 1 for key in keys)
        yield good(
            "threshold_shares_" + "_".join(map(str, indices)),
            "two of three: shares " + ", ".join(map(str, indices)),
            writer,
            reader(None, keys),
        )
    yield good(
        "threshold_all_of_2",
        "two of two",
        Writer("threshold_all_of_2", [at_threshold(2, [ALICE, BOB])]),
        reader(None, [ALICE, BOB]),
    )
    many = [Holder(f"holder {i}", hpke.DhkemX25519) for i in range(16)]
    yield good(
        "threshold_all_of_16",
        "sixteen of sixteen",
        Writer("threshold_all_of_16", [at_threshold(16, many)]),
        reader(None, many),
    )
    yield good(
        "threshold_3_of_16",
        "three of sixteen, among them the last",
        Writer("threshold_3_of_16", [at_threshold(3, many)]),
        reader(None, [many[0], many[8], many[15]]),
    )
    yield good(
        "threshold_one_share_wrong",
        "a wrong share, and enough others",
        Writer(
            "threshold_one_share_wrong",
            [at_threshold(2, [ALICE, BOB, CAROL], encrypted=lambda x, share: bytes(32) if x == 1 else share)],
        ),
        reader(None, [ALICE, BOB, CAROL]),
    )
    yield good(
        "threshold_one_share_undecryptable",
        "a share that does not decrypt, and enough others",
        Writer("threshold_one_share_undecryptable", [at_threshold(2, [ALICE, BOB, CAROL], edit=undecryptable)]),
        reader(None, [ALICE, BOB, CAROL]),
    )


def given_shares():
    writer = Writer("shares_given", [at_threshold(2, [ALICE, BOB, XENIA])])
    first, second, third = (writer.given(0, 2, x) for x in (1, 2, 3))
    yield good(
        "shares_given", "shares that their holders gave, in another order", writer, reader(None, shares=[third, first])
    )
    yield good(
        "share_given_and_key", "a share that was given, and one's own", writer, reader(None, [BOB], shares=[first])
    )
    yield good(
        "share_given_twice",
        "a share that was given twice, and another",
        writer,
        reader(None, shares=[first, first, second]),
    )
    wrong = [second[0], 2, bytes(32).hex()]
    yield good(
        "share_given_wrong_among_others",
        "a wrong share, and enough others",
        writer,
        reader(None, shares=[wrong, first, third]),
    )
    elsewhere = [bytes(32).hex(), 2, bytes(32).hex()]
    yield good(
        "share_given_of_other_slot",
        "a share of another slot, and enough others",
        writer,
        reader(None, shares=[elsewhere, first, third]),
    )
    missing = "slot.shares_missing"
    yield bad("share_given_alone", "one share of the two that it takes", missing, writer, reader(None, shares=[first]))
    yield bad("share_given_twice_alone", "the same share twice", missing, writer, reader(None, shares=[first, first]))
    yield bad(
        "share_given_and_own_key",
        "a share, and the key of its own holder",
        missing,
        writer,
        reader(None, [ALICE], shares=[first]),
    )
    yield bad(
        "share_given_of_other_slot_alone",
        "a share of another slot",
        "envelope.no_opener",
        writer,
        reader(None, shares=[elsewhere]),
    )
    share_wrong = "slot.share_wrong"
    yield bad("share_given_wrong", "a share that was changed", share_wrong, writer, reader(None, shares=[first, wrong]))
    yield bad(
        "share_given_as_other",
        "a share under another index",
        share_wrong,
        writer,
        reader(None, shares=[first, [first[0], 2, first[2]]]),
    )
    yield bad(
        "share_given_at_0",
        "a share at index 0, which would be the key itself",
        share_wrong,
        writer,
        reader(None, shares=[first, [first[0], 0, second[2]]]),
    )
    yield bad(
        "share_given_at_4",
        "a share of four of three",
        share_wrong,
        writer,
        reader(None, shares=[first, [first[0], 4, writer.given(0, 2, 4)[2]]]),
    )


def combinations():
    both = Writer("machine_and_recipient", [at_machine(SIM), at_recipient(ALICE)], origin=0)
    yield good(
        "origin_by_machine", "machine and recipient with an origin, opened by the machine", both, origin="proved"
    )
    yield good(
        "origin_by_recipient",
        "the same envelope, opened by the recipient",
        both,
        reader(None, [ALICE]),
        slot=1,
        origin="unchecked",
    )
    yield good(
        "origin_by_either",
        "the same envelope, with both openers at hand: the first slot opens it",
        both,
        reader(SIM, [ALICE]),
        origin="proved",
    )
    yield good(
        "origin_not_at_first",
        "the machine slot stands second",
        Writer("origin_not_at_first", [at_recipient(ALICE), at_machine(SIM)], origin=1),
        slot=1,
        origin="proved",
    )
    yield good(
        "origin_of_other_machine",
        "two machines, opened by the one that did not write it",
        Writer("origin_of_other_machine", [at_machine(OTHER_SIM), at_machine(SIM)], origin=0),
        slot=1,
        origin="unchecked",
    )
    yield good("origin_alone", "an origin beside no other slot", Writer("origin_alone", origin=0), origin="proved")
    yield good(
        "origin_demanded",
        "an origin, and the caller demands it",
        Writer("origin_demanded", [at_machine(SIM), at_recipient(ALICE)], origin=0),
        reader(origin=True),
        origin="proved",
    )
    yield good(
        "origin_alone_demanded",
        "an origin beside no other slot, and the caller demands it",
        Writer("origin_alone_demanded", origin=0),
        reader(origin=True),
        origin="proved",
    )
    yield good(
        "origin_real_machine",
        "a real machine and a threshold with an origin",
        Writer("origin_real_machine", [at_machine(GUEST), at_threshold(2, [ALICE, BOB])], origin=0),
        reader(GUEST),
        origin="proved",
    )
    for name, shows, length in (
        ("empty", "an origin of an empty secret", 0),
        ("full_chunk", "an origin after a chunk that is full", CHUNK),
        ("two_chunks", "an origin of two chunks", CHUNK + 1),
    ):
        yield good(
            "origin_" + name,
            shows,
            Writer("origin_" + name, secret=LONG[:length], origin=0),
            secret=LONG[:length],
            origin="proved",
        )
    yield good(
        "origin_absent",
        "machine and recipient without an origin",
        Writer("origin_absent", [at_machine(SIM), at_recipient(ALICE)]),
    )
    yield good(
        "two_machines",
        "the same program on two machines, opened on the second",
        Writer("two_machines", [at_machine(OTHER_SIM), at_machine(SIM)]),
        slot=1,
    )
    yield good(
        "first_slot_damaged",
        "the first slot is damaged, and the second opens",
        Writer("first_slot_damaged", [at_machine(SIM, key=bytes(16)), at_machine(SIM)]),
        slot=1,
    )
    yield good(
        "64_slots",
        "64 slots, of which the last opens",
        Writer("64_slots", [at_machine(OTHER_SIM)] * 63 + [at_machine(SIM)]),
        slot=63,
    )
    yield good(
        "all_kinds",
        "a slot of each kind, and the threshold opens",
        Writer("all_kinds", [at_machine(SGX), at_machine(GUEST), at_recipient(CAROL), at_threshold(2, [ALICE, BOB])]),
        reader(None, [ALICE, BOB]),
        slot=3,
    )


def satisfied():
    """Demands that are met."""
    yield good(
        "recipients_expected",
        "recipients and holders whom the caller expects, and one who is not there",
        Writer("recipients_expected", [at_machine(SIM), at_recipient(ALICE), at_threshold(2, [BOB, XENIA])], origin=0),
        reader(recipients=[holder.public() for holder in (XENIA, ALICE, BOB, CAROL)]),
        origin="proved",
    )
    yield good(
        "recipients_none_expected",
        "no recipient, and none is expected",
        Writer("recipients_none_expected"),
        reader(recipients=[]),
    )
    cpusvn = SIM.registers["CPUSVN"]
    yield good(
        "floor",
        "at the floor in everything",
        Writer("floor", header={EPOCH: 5}),
        reader(floor=floor(3, [bytes(16), cpusvn], 5)),
    )
    yield good(
        "floor_of_tdx",
        "a floor, and a TDX guest, whose request has no such version",
        Writer("floor_of_tdx", [at_machine(GUEST)]),
        reader(GUEST, floor=floor(3, [cpusvn])),
    )
    yield good(
        "floor_of_recipient",
        "a machine's slot below the floor, and a recipient's",
        Writer("floor_of_recipient", [at_machine(SIM), at_recipient(ALICE)]),
        reader(SIM, [ALICE], floor=floor(4)),
        slot=1,
    )


SECTIONS = (payloads, headers, machines, recipients, thresholds, given_shares, combinations, satisfied)
