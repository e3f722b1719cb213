"""What is refused with a key: steps 13 to 16."""

import cbor
from envelope import (
    CHUNK,
    CONTEXT,
    CREATED,
    EPOCH,
    ID,
    LABELS,
    MAC,
    ORIGIN,
    SALT,
    SLOTS,
    origin_key,
    payload_key,
    sha256,
    trailer_of,
)
from vectors.case import HEADER_CHANGED, PAYLOAD_CHANGED, TRUNCATED, LONG, reader, floor, good, bad
from vectors.writer import (
    ALICE,
    BOB,
    CALLER,
    CAROL,
    DAVE,
    GUEST,
    KSS,
    OTHER_SIM,
    SECRET,
    SGX,
    SIM,
    SIM_KSS,
    SIM_TDX,
    XENIA,
    Writer,
    at_low_order,
    at_machine,
    at_recipient,
    at_threshold,
    drawn,
    undecryptable,
)
from vectors.openers import LOW_ORDER


def nobody_opens():
    """Step 13."""

    def closest(name, shows, code, slots, who=None, **rest):
        return bad(name, shows, code, Writer(name, slots, **rest), who)

    none = "envelope.no_opener"
    yield bad("nobody", "no slot at all", none, Writer("nobody", []), reader(SIM, [ALICE]))
    yield closest("no_machine", "a machine's envelope, and no machine", none, [at_machine(SIM)], reader(None, [ALICE]))
    yield closest("no_private_key", "a recipient's envelope, and no private key", none, [at_recipient(ALICE)])
    yield closest(
        "other_private_key",
        "a recipient's envelope, and another private key",
        none,
        [at_recipient(ALICE)],
        reader(None, [BOB]),
    )
    yield closest(
        "other_kem",
        "a recipient's envelope, and a private key of the other KEM",
        none,
        [at_recipient(ALICE)],
        reader(None, [XENIA]),
    )
    yield closest(
        "no_holder", "a threshold, and no share of it", none, [at_threshold(2, [ALICE, BOB])], reader(None, [CAROL])
    )

    backend = "machine.wrong_backend"
    yield closest("simulated_on_real", "simulated, and the machine is real", backend, [at_machine(SIM)], reader(SGX))
    yield closest("real_on_simulated", "real, and the machine is simulated", backend, [at_machine(SGX)])
    yield closest("sgx_on_tdx", "for SGX, and the machine is a TDX guest", backend, [at_machine(SGX)], reader(GUEST))
    yield closest("tdx_on_sgx", "for a TDX guest, and the machine is SGX", backend, [at_machine(GUEST)], reader(SGX))
    yield closest(
        "sim_tdx_on_tdx", "a simulated guest's, and the guest is real", backend, [at_machine(SIM_TDX)], reader(GUEST)
    )
    yield closest(
        "tdx_on_sim_tdx", "a real guest's, and the guest is simulated", backend, [at_machine(GUEST)], reader(SIM_TDX)
    )
    yield closest("sim_tdx_on_sim_sgx", "a simulated machine of the other kind", backend, [at_machine(SIM_TDX)])

    cpusvn = {machine: machine.registers["CPUSVN"] for machine in (SIM, SGX)}
    yield closest(
        "simulated_cpusvn_on_real",
        "a real machine's slot with a CPUSVN that only simulated ones have",
        backend,
        [at_machine(SGX, CPUSVN=cpusvn[SIM])],
        reader(SGX),
    )
    yield closest(
        "real_cpusvn_on_simulated",
        "a simulated machine's slot with a CPUSVN that only real ones have",
        backend,
        [at_machine(SIM, CPUSVN=cpusvn[SGX])],
    )

    identity = "machine.other_identity"

    def other(name, shows, machine=SIM, changed=None, **fields):
        return closest(
            "other_" + name, shows, identity, [at_machine(machine, **fields)], reader(machine, registers=changed)
        )

    yield other("mrenclave", "another enclave", changed={"MRENCLAVE": drawn("another mrenclave", 32)})
    yield other(
        "mrsigner",
        "the policy `signer`, and another signer",
        changed={"MRSIGNER": drawn("another mrsigner", 32)},
        KEYPOLICY=2,
        LABEL="wallet",
    )
    yield other("isvprodid", "another product", changed={"ISVPRODID": 8})
    yield other(
        "isvprodid_of_signer", "another product of the same signer", changed={"ISVPRODID": 8}, KEYPOLICY=2, LABEL="x"
    )
    yield other("debug", "the same enclave in debug mode", changed={"ATTRIBUTES.FLAGS": 0x7})
    ids = {"CONFIGID": 9, "ISVFAMILYID": 17, "ISVEXTPRODID": 33}
    for register, policy in ids.items():
        yield other(
            register.lower(),
            f"another {register}",
            SIM_KSS,
            {register: drawn("another id", len(KSS[register]))},
            KEYPOLICY=policy,
            **{register: KSS[register]},
        )
    yield other(
        "kss",
        "an enclave without KSS",
        SIM_KSS,
        {"ATTRIBUTES.FLAGS": 0x5},
        KEYPOLICY=17,
        ISVFAMILYID=KSS["ISVFAMILYID"],
    )
    for register in (
        "MRTD",
        "RTMR0",
        "RTMR1",
        "RTMR2",
        "RTMR3",
        "MRCONFIGID",
        "MROWNER",
        "MROWNERCONFIG",
        "MRSERVICETD",
    ):
        yield other(register.lower(), f"another {register}", GUEST, {register: drawn("another " + register, 48)})

    yield closest(
        "other_machine", "the same enclave on another machine", "machine.other_machine", [at_machine(OTHER_SIM)]
    )
    yield closest(
        "svn_too_old",
        "an enclave of an earlier security version",
        "machine.tcb_too_old",
        [at_machine(SIM)],
        reader(registers={"ISVSVN": 2}),
    )
    yield closest(
        "svn_below_policy",
        "a version below the policy's",
        "machine.tcb_too_old",
        [at_machine(SIM, KEYPOLICY=2, ISVSVN=2, LABEL="wallet")],
        reader(registers={"ISVSVN": 1}),
    )
    yield closest(
        "configsvn_too_old",
        "an earlier CONFIGSVN",
        "machine.tcb_too_old",
        [at_machine(SIM_KSS, KEYPOLICY=9, CONFIGSVN=2, CONFIGID=KSS["CONFIGID"])],
        reader(SIM_KSS, registers={"CONFIGSVN": 1}),
    )

    holders = [ALICE, BOB, CAROL]
    yield closest(
        "share_missing",
        "one share of the two that it takes",
        "slot.shares_missing",
        [at_threshold(2, holders)],
        reader(None, [BOB]),
    )
    wrong = {"encrypted": lambda x, share: bytes(32) if x == 2 else share}
    yield closest(
        "share_wrong",
        "a share that is not the one committed to",
        "slot.share_wrong",
        [at_threshold(2, holders, **wrong)],
        reader(None, [ALICE, BOB]),
    )
    yield closest(
        "share_wrong_alone",
        "a wrong share, and none besides",
        "slot.share_wrong",
        [at_threshold(2, holders, **wrong)],
        reader(None, [BOB]),
    )

    yield closest(
        "share_undecryptable",
        "a share that does not decrypt",
        "slot.share_wrong",
        [at_threshold(2, holders, edit=undecryptable)],
        reader(None, [ALICE, BOB]),
    )
    yield closest(
        "share_encapsulated_low_order",
        "a share under an encapsulated key of low order",
        "slot.share_wrong",
        [
            at_threshold(
                2,
                holders,
                edit=lambda fields: [fields[0], [[*fields[1][0][:2], bytes(32), *fields[1][0][3:]], *fields[1][1:]]],
            )
        ],
        reader(None, [ALICE, BOB]),
    )

    yield from header_changed(closest)

    yield closest(
        "closest_of_machines",
        "another enclave, and the right one on another machine",
        "machine.other_machine",
        [at_machine(SIM, MRENCLAVE=drawn("another mrenclave", 32)), at_machine(OTHER_SIM)],
    )
    yield closest(
        "closest_is_first",
        "the closest slot stands first",
        "machine.tcb_too_old",
        [at_machine(SIM, ISVSVN=4), at_machine(OTHER_SIM), at_machine(SIM_TDX), at_recipient(BOB)],
        reader(SIM, [ALICE]),
    )
    yield closest(
        "closest_is_share",
        "another machine, and a share too few",
        "slot.shares_missing",
        [at_threshold(2, holders), at_machine(OTHER_SIM)],
        reader(SIM, [ALICE]),
    )
    yield closest(
        "closest_is_identity",
        "another enclave, and a recipient who is not here",
        identity,
        [at_recipient(ALICE), at_machine(SIM, MRENCLAVE=drawn("another mrenclave", 32))],
        reader(SIM, [BOB]),
    )
    yield closest(
        "closest_is_damaged",
        "the right machine with a slot that does not unwrap, and another machine",
        HEADER_CHANGED,
        [at_machine(SIM, key=bytes(16)), at_machine(OTHER_SIM)],
    )


def header_changed(closest):
    def edited(name, shows, writer, edit, who=None):
        """Changes the header of a finished envelope, with a new checksum and the old MAC."""
        writer.header = edit(dict(writer.header))
        start = writer.start()
        return bad(
            name,
            shows,
            HEADER_CHANGED,
            start + writer.head_before[-MAC:] + writer.payload() + writer.trailer_before,
            who,
        )

    def finished(name, *args, **rest):
        writer = Writer(name, *args, **rest)
        writer.head_before, writer.trailer_before = writer.head(), writer.trailer()
        return writer

    def put(key, value):
        return lambda header: {**header, key: value}

    yield closest(
        "wrapped_key",
        "a wrapped file key that was changed",
        HEADER_CHANGED,
        [at_machine(SIM)],
        slot=lambda slot: [*slot[:3], bytes([slot[3][0] ^ 1]) + slot[3][1:]],
    )
    yield closest(
        "wrapped_for_other_key",
        "wrapped under another key than the machine gives",
        HEADER_CHANGED,
        [at_machine(SIM, key=bytes(16))],
    )
    yield closest(
        "slot_salt_changed",
        "a slot's salt that was changed",
        HEADER_CHANGED,
        [at_machine(SIM)],
        slot=lambda slot: [slot[0], bytes(32), *slot[2:]],
    )
    yield closest(
        "opener_changed",
        "a selector that was changed: an older ISVSVN",
        HEADER_CHANGED,
        [at_machine(SIM)],
        slot=lambda slot: [*slot[:2], slot[2].replace(b"\x92\x01\x03", b"\x92\x01\x02"), slot[3]],
    )
    yield closest(
        "label_changed",
        "the label of a signer's slot that was changed",
        HEADER_CHANGED,
        [at_machine(SIM, KEYPOLICY=2, LABEL="wallet")],
        slot=lambda slot: [*slot[:2], slot[2].replace(b"wallet", b"ballot"), slot[3]],
    )
    yield closest(
        "role_changed",
        "a recipient's role that was changed",
        HEADER_CHANGED,
        [at_recipient(ALICE)],
        reader(None, [ALICE]),
        slot=lambda slot: [*slot[:2], slot[2][:-1] + b"\x01", slot[3]],
    )
    yield closest(
        "encapsulated_changed",
        "an encapsulated key for the same recipient from elsewhere",
        HEADER_CHANGED,
        [at_recipient(ALICE, edit=lambda fields: [*fields[:2], BOB.public_key, fields[3]])],
        reader(None, [ALICE]),
    )
    yield closest(
        "xwing_ciphertext_changed",
        "an ML-KEM ciphertext that was changed",
        HEADER_CHANGED,
        [at_recipient(XENIA, edit=lambda fields: [*fields[:2], bytes([fields[2][0] ^ 1]) + fields[2][1:], fields[3]])],
        reader(None, [XENIA]),
    )
    for name, point in LOW_ORDER.items():
        yield closest(
            f"encapsulated_{name}",
            "an encapsulated key of low order, and the secret that it gives",
            HEADER_CHANGED,
            [at_low_order(ALICE, point)],
            reader(None, [ALICE]),
        )
    yield closest(
        "xwing_encapsulated_low_order",
        "an X25519 part of low order, and the secret that it gives",
        HEADER_CHANGED,
        [at_low_order(XENIA)],
        reader(None, [XENIA]),
    )
    yield closest(
        "shares_of_two_keys",
        "shares that are the ones committed to, and not of one polynomial",
        HEADER_CHANGED,
        [at_threshold(2, [ALICE, BOB, CAROL], share=lambda x, share: sha256(share) if x == 2 else share)],
        reader(None, [ALICE, BOB]),
    )
    yield closest(
        "two_file_keys",
        "the wrapped file key and the one of the header MAC differ",
        HEADER_CHANGED,
        [at_machine(SIM)],
        mac_key=drawn("another file key", 32),
    )
    one, two = Writer("slot_moved_from"), Writer("slot_moved")
    two.header[SLOTS] = one.header[SLOTS]
    yield bad("slot_moved", "a slot from another envelope of the same machine and context", HEADER_CHANGED, two)

    mac = bytearray(Writer("mac").envelope())
    size = int.from_bytes(mac[9:13], "big")
    mac[13 + size + 16] ^= 1
    yield bad("mac", "a bit of the header MAC changed", HEADER_CHANGED, bytes(mac))
    yield edited(
        "created_changed",
        "a creation time that was changed",
        finished("created_changed", header={CREATED: 1}),
        put(CREATED, 2),
    )
    yield edited("created_added", "a creation time that was added", finished("created_added"), put(CREATED, 2))
    yield edited(
        "epoch_changed",
        "an epoch that was raised",
        finished("epoch_changed", header={EPOCH: 1}),
        put(EPOCH, 2),
        reader(epoch=2),
    )
    yield edited(
        "labels_changed",
        "a label that was changed",
        finished("labels_changed", header={LABELS: {"a": "b"}}),
        put(LABELS, {"a": "c"}),
    )
    yield edited(
        "extension_removed",
        "an extension that was taken away",
        finished("extension_removed", header={16: b"x"}),
        lambda header: {key: header[key] for key in header if key != 16},
    )
    yield edited(
        "payload_salt_changed",
        "a payload salt that was changed",
        finished("payload_salt_changed"),
        put(SALT, bytes(32)),
    )
    yield edited("id_changed", "an envelope id that was changed", finished("id_changed"), put(ID, bytes(16)))
    yield edited(
        "context_changed",
        "a context that was changed to the caller's",
        finished("context_changed", header={CONTEXT: "another"}),
        put(CONTEXT, CALLER),
    )
    yield edited(
        "slots_swapped",
        "two slots that changed places",
        finished("slots_swapped", [at_machine(SIM), at_recipient(ALICE)]),
        lambda header: {**header, SLOTS: header[SLOTS][::-1]},
    )
    yield edited(
        "slot_dropped",
        "a slot that was taken away",
        finished("slot_dropped", [at_machine(SIM), at_recipient(ALICE)]),
        lambda header: {**header, SLOTS: header[SLOTS][:1]},
    )
    yield edited(
        "origin_removed",
        "key 10 that was taken away",
        finished("origin_removed", origin=0),
        lambda header: {key: header[key] for key in header if key != ORIGIN},
    )
    swapped = finished("shares_swapped", [at_threshold(2, [ALICE, BOB, CAROL])])

    def swap(header):
        kind, salt, opener, wrapped = header[SLOTS][0]
        k, shares = cbor.decode(opener)
        return {**header, SLOTS: [[kind, salt, cbor.encode([k, [shares[2], shares[1], shares[0]]]), wrapped]]}

    swapped.header = swap(swapped.header)
    yield bad(
        "shares_swapped", "two shares that changed places", "slot.share_wrong", swapped, reader(None, [ALICE, BOB])
    )


def demands():
    """Step 14."""
    yield bad(
        "epoch_below",
        "an epoch below the one demanded",
        "envelope.rollback",
        Writer("epoch_below", header={EPOCH: 6}),
        reader(epoch=7),
    )
    yield bad(
        "epoch_absent", "no epoch, and one is demanded", "envelope.rollback", Writer("epoch_absent"), reader(epoch=1)
    )
    below = "machine.below_floor"
    yield bad("floor_isvsvn", "an ISVSVN below the floor", below, Writer("floor_isvsvn"), reader(floor=floor(4)))
    yield bad(
        "floor_cpusvn",
        "a CPUSVN that is not among the accepted ones",
        below,
        Writer("floor_cpusvn"),
        reader(floor=floor(cpusvn=[bytes(16)])),
    )
    yield bad(
        "floor_epoch",
        "an epoch below the floor",
        below,
        Writer("floor_epoch", header={EPOCH: 6}),
        reader(floor=floor(epoch=7)),
    )
    yield bad(
        "floor_epoch_absent",
        "no epoch, and a floor for it",
        below,
        Writer("floor_epoch_absent"),
        reader(floor=floor(epoch=1)),
    )
    unexpected = "slot.unexpected"
    yield bad(
        "recipient_unexpected",
        "a recipient whom the caller does not expect",
        unexpected,
        Writer("recipient_unexpected", [at_machine(SIM), at_recipient(ALICE), at_recipient(BOB)], origin=0),
        reader(recipients=[ALICE.public()]),
    )
    yield bad(
        "holder_unexpected",
        "a holder of a share whom the caller does not expect",
        unexpected,
        Writer("holder_unexpected", [at_machine(SIM), at_threshold(2, [ALICE, BOB])], origin=0),
        reader(recipients=[ALICE.public()]),
    )
    yield bad(
        "recipient_who_opens_unexpected",
        "opened by a recipient whom the caller does not expect",
        unexpected,
        Writer("recipient_who_opens_unexpected", [at_recipient(ALICE)]),
        reader(None, [ALICE], recipients=[]),
    )
    yield bad(
        "origin_none",
        "no origin, and the caller demands it",
        "envelope.no_origin",
        Writer("origin_none", [at_machine(SIM), at_recipient(ALICE)]),
        reader(origin=True),
    )
    yield bad(
        "origin_of_machines_unsaid",
        "only machines can open it, none says that it wrote it, and the caller demands it",
        "envelope.no_origin",
        Writer("origin_of_machines_unsaid", [at_machine(OTHER_SIM), at_machine(SIM)]),
        reader(origin=True),
    )
    yield bad(
        "origin_unchecked",
        "an origin, and another slot opened the envelope",
        "envelope.no_origin",
        Writer("origin_unchecked", [at_machine(SIM), at_recipient(ALICE)], origin=0),
        reader(None, [ALICE], origin=True),
    )


def damaged_payloads():
    """Step 15."""

    def payload(name, shows, code, make, secret=SECRET):
        writer = Writer(name, secret=secret)
        return bad(name, shows, code, writer.head() + make(writer))

    two, three = LONG[: CHUNK + 1], LONG[: 2 * CHUNK + 1]
    changed, cut = PAYLOAD_CHANGED, TRUNCATED
    yield payload("payload_missing", "no payload", cut, lambda writer: b"")
    yield payload("payload_short_of_a_tag", "15 bytes of payload", cut, lambda writer: writer.payload()[:15])
    yield payload("payload_cut", "a byte short at the end", changed, lambda writer: writer.payload()[:-1])
    yield payload("payload_longer", "a byte more at the end", changed, lambda writer: writer.payload() + b"\0")
    yield payload(
        "payload_bit", "a bit changed", changed, lambda writer: bytes([writer.payload()[0] ^ 1]) + writer.payload()[1:]
    )
    yield payload(
        "payload_tag_bit",
        "a bit of the tag changed",
        changed,
        lambda writer: writer.payload()[:-1] + bytes([writer.payload()[-1] ^ 1]),
    )
    yield payload(
        "last_flag_missing",
        "no chunk carries the flag of the last one",
        changed,
        lambda writer: writer.payload([False]),
    )
    yield payload(
        "chunk_first_dropped", "the first chunk is missing", changed, lambda writer: writer.encrypted()[1], two
    )
    yield payload("chunk_last_dropped", "the last chunk is missing", changed, lambda writer: writer.encrypted()[0], two)
    yield payload(
        "chunk_last_cut", "the last chunk ends within its tag", cut, lambda writer: writer.payload()[:-10], two
    )
    yield payload(
        "chunk_doubled", "the last chunk twice", changed, lambda writer: writer.payload() + writer.encrypted()[1], two
    )
    yield payload(
        "chunks_swapped",
        "two chunks that changed places",
        changed,
        lambda writer: b"".join(writer.encrypted()[i] for i in (1, 0, 2)),
        three,
    )
    yield payload("last_chunk_empty", "an empty chunk after a full one", changed, empty_last, LONG[:CHUNK])
    yield payload(
        "chunk_after_last", "a chunk after the last one", changed, lambda writer: writer.payload([True, True]), two
    )

    def other_key(name, shows, key):
        writer = Writer(name)
        return bad(name, shows, changed, writer.head() + writer.payload(key=key(writer)))

    yield other_key(
        "payload_of_other_context",
        "a payload of another context",
        lambda writer: payload_key(writer.file_key, {**writer.header, CONTEXT: "another"}),
    )
    yield other_key(
        "payload_of_other_id",
        "a payload of another envelope under the same file key",
        lambda writer: payload_key(writer.file_key, {**writer.header, ID: bytes(16)}),
    )
    yield other_key(
        "payload_of_other_salt",
        "a payload with another salt",
        lambda writer: payload_key(writer.file_key, {**writer.header, SALT: bytes(32)}),
    )
    yield other_key(
        "payload_of_other_version",
        "a payload of another version under the same file key",
        lambda writer: payload_key(writer.file_key, writer.header, 2),
    )
    yield other_key(
        "payload_of_other_file_key",
        "a payload under another file key",
        lambda writer: payload_key(bytes(32), writer.header),
    )
    yield other_key("payload_under_file_key", "a payload under the file key itself", lambda writer: writer.file_key)


def empty_last(writer):
    writer.chunks.append(b"")
    return writer.payload()


def trailers():
    """Step 16, and what a trailer does to the payload."""

    def written(name, secret=SECRET, **rest):
        return Writer(name, [at_machine(SIM), at_recipient(ALICE)], secret=secret, origin=0, **rest)

    origin = "envelope.origin"
    changed = bytearray(written("trailer_changed").envelope())
    changed[-1] ^= 1
    yield bad("trailer_changed", "a bit of the trailer changed", origin, bytes(changed))
    zero = written("trailer_zero")
    yield bad("trailer_zero", "a trailer of zeros", origin, zero.envelope()[:-MAC] + bytes(MAC))
    yield bad(
        "trailer_missing",
        "no trailer",
        PAYLOAD_CHANGED,
        written("trailer_missing", secret=bytes(100)).envelope()[:-MAC],
    )
    yield bad(
        "trailer_missing_short",
        "no trailer, and too little payload to take for it",
        TRUNCATED,
        written("trailer_missing_short", secret=b"").envelope()[:-MAC],
    )
    yield bad(
        "trailer_missing_short_chunk",
        "no trailer, and what is left of the payload is less than a tag",
        TRUNCATED,
        written("trailer_missing_short_chunk").envelope()[:-MAC],
    )
    yield bad("trailer_cut", "a trailer of 31 bytes", PAYLOAD_CHANGED, written("trailer_cut").envelope()[:-1])
    yield bad(
        "trailer_longer", "a byte after the trailer", PAYLOAD_CHANGED, written("trailer_longer").envelope() + b"\0"
    )
    yield bad(
        "trailer_twice",
        "the trailer twice",
        PAYLOAD_CHANGED,
        written("trailer_twice").envelope() + written("trailer_twice").trailer(),
    )
    plain = Writer("trailer_added")
    yield bad(
        "trailer_added",
        "a trailer that no key 10 announces",
        PAYLOAD_CHANGED,
        plain.envelope()
        + trailer_of(origin_key(SIM.key, plain.header, plain.header[SLOTS][0]), plain.head(), plain.payload()),
    )
    moved = written("trailer_of_other_envelope")
    yield bad(
        "trailer_of_other_envelope",
        "the trailer of another envelope of the same machine",
        origin,
        moved.envelope()[:-MAC] + written("trailer_changed").trailer(),
    )
    by_recipient = written("trailer_by_recipient")
    key = origin_key(by_recipient.opener_keys[1], by_recipient.header, by_recipient.header[SLOTS][1])
    yield bad(
        "trailer_by_recipient",
        "a trailer made with the recipient's key",
        origin,
        by_recipient.envelope()[:-MAC] + trailer_of(key, by_recipient.head(), by_recipient.payload()),
    )
    forged = written("secret_replaced")
    trailer = forged.trailer()
    forged.chunks = [b"incorrect horse"]
    yield bad(
        "secret_replaced",
        "a secret that somebody with the file key replaced",
        origin,
        forged.head() + forged.payload() + trailer,
    )
    yield good(
        "secret_replaced_unchecked",
        "the same, opened by the recipient, who could have done it",
        forged.head() + forged.payload() + trailer,
        reader(None, [ALICE]),
        b"incorrect horse",
        1,
        "unchecked",
    )
    relabelled = written("header_rewritten", header={LABELS: {"for": "alice"}})
    trailer = relabelled.trailer()
    relabelled.header[LABELS] = {"for": "mallory"}
    yield bad(
        "header_rewritten",
        "a header that somebody with the file key rewrote",
        origin,
        relabelled.head() + relabelled.payload() + trailer,
    )
    added = written("slot_added")
    trailer = added.trailer()
    added.header[SLOTS].append(added.made(2, at_recipient(DAVE), lambda slot: slot))
    yield bad(
        "slot_added",
        "a slot that somebody with the file key added, with the old trailer",
        origin,
        added.head() + added.payload() + trailer,
    )


SECTIONS = (nobody_opens, demands, damaged_payloads, trailers)
