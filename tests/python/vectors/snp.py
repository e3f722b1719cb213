"""Envelopes of SEV-SNP guests: what opens, what no sealer writes, and what is for another guest or machine."""

from envelope import SNP_ALWAYS, SNP_MEASUREMENT, SNP_RELEASES
from vectors.case import INVALID, bad, good, reader
from vectors.writer import GUEST, SIM, SIM_SNP, SNP, SNP_GUEST, Writer, at_machine, drawn

MEASURED = SNP_ALWAYS | SNP_MEASUREMENT
RELEASES = SNP_ALWAYS | SNP_RELEASES
WALLET = {"SELECT": RELEASES, "GUEST_SVN": 2, "FAMILY_ID": SNP["FAMILY_ID"], "LABEL": "wallet"}


def on(**changed):
    """The guest with other registers."""
    return reader(SNP_GUEST, registers=changed)


def opens():
    yield good("snp", "a SEV-SNP guest", Writer("snp", [at_machine(SNP_GUEST)]), reader(SNP_GUEST))
    yield good("sim_snp", "a simulated SEV-SNP guest", Writer("sim_snp", [at_machine(SIM_SNP)]), reader(SIM_SNP))
    yield good(
        "snp_newer_tcb",
        "a SEV-SNP guest after an update of its machine, at a higher privilege level",
        Writer("snp_newer_tcb", [at_machine(SNP_GUEST)]),
        on(COMMITTED_TCB=bytes([10, 0, 0, 0, 0, 0, 23, 80]), FAMILY_ID=bytes(16), GUEST_SVN=0, VMPL=0),
    )
    author = drawn("author key digest", 48)
    yield good(
        "snp_signer",
        "a SEV-SNP guest's policy `signer`, opened by the next release, under another ID key of the same author",
        Writer("snp_signer", [at_machine(SNP_GUEST, SIGNER=author, **WALLET)]),
        on(
            MEASUREMENT=drawn("another measurement", 48),
            GUEST_SVN=4,
            AUTHOR_KEY_DIGEST=author,
            ID_KEY_DIGEST=drawn("another id key digest", 48),
        ),
    )
    yield good(
        "snp_both",
        "a SEV-SNP guest's measurement and signer",
        Writer("snp_both", [at_machine(SNP_GUEST, **{**WALLET, "SELECT": RELEASES | MEASURED})]),
        reader(SNP_GUEST),
    )


def invalid():
    """Step 9."""
    for name, shows, fields in (
        ("root_any", "the provider's key, if there is one", {"ROOT": 0}),
        ("root_vmrk", "the migration root", {"ROOT": 1}),
        ("root_vlek", "the provider's key", {"ROOT": 4}),
        ("select_without_policy", "a key without the guest's policy", {"SELECT": MEASURED & ~1}),
        ("select_without_tcb", "a key without the TCB", {"SELECT": MEASURED & ~(1 << 5)}),
        ("select_nobody", "a key that selects no identity", {"SELECT": SNP_ALWAYS}),
        ("select_image", "a key that selects IMAGE_ID", {"SELECT": MEASURED | 1 << 1}),
        ("select_reserved", "a reserved bit of the selection", {"SELECT": MEASURED | 1 << 6}),
        ("select_family_alone", "FAMILY_ID without GUEST_SVN", {**WALLET, "SELECT": SNP_ALWAYS | 1 << 2}),
        ("select_svn_alone", "GUEST_SVN without FAMILY_ID", {**WALLET, "SELECT": SNP_ALWAYS | 1 << 4}),
        ("vmpl_4", "a privilege level that there is not", {"VMPL": 4}),
        ("svn_unselected", "a GUEST_SVN that is not selected", {"GUEST_SVN": 1}),
        ("svn_17_bits", "a GUEST_SVN of 17 bits", {**WALLET, "GUEST_SVN": 1 << 16}),
        ("tcb_7", "a TCB of 7 bytes", {"TCB": bytes(7)}),
        ("keyid_zero", "a KEYID of zeros", {"KEYID": bytes(32)}),
        ("measurement_zero", "a MEASUREMENT of zeros", {"MEASUREMENT": bytes(48)}),
        ("measurement_32", "a MEASUREMENT of 32 bytes", {"MEASUREMENT": bytes([1]) * 32}),
        ("family_unselected", "a FAMILY_ID that is not selected", {"FAMILY_ID": SNP["FAMILY_ID"]}),
        ("family_long", "a FAMILY_ID that is no product's number", {**WALLET, "FAMILY_ID": bytes([1]) * 16}),
        ("signer_zero", "a product of nobody", {**WALLET, "SIGNER": bytes(48)}),
        ("label_missing", "a product without a label", {**WALLET, "LABEL": ""}),
        ("label_comma", "a label with a comma", {**WALLET, "LABEL": "a,b"}),
        ("label_of_measurement", "a label without a product", {"LABEL": "wallet"}),
        ("tag_15", "a machine tag of 15 bytes", {"TAG": bytes(15)}),
    ):
        yield of(name, shows, INVALID, fields)
    for name, shows, edit in (
        ("short", "a field too few", lambda fields: fields[:-1]),
        ("long", "a field too many", lambda fields: [*fields, 0]),
    ):
        writer = Writer("snp_" + name, [at_machine(SNP_GUEST, edit=edit)])
        yield bad("snp_" + name, shows, INVALID, writer, reader(SNP_GUEST))


def of(name, shows, code, fields=None, who=None):
    writer = Writer("snp_" + name, [at_machine(SNP_GUEST, **(fields or {}))])
    return bad("snp_" + name, shows, code, writer, who or reader(SNP_GUEST))


def elsewhere():
    """Step 13."""
    identity, too_old = "machine.other_identity", "machine.tcb_too_old"
    for name, shows, fields, changed in (
        ("other_measurement", "another guest", {}, {"MEASUREMENT": drawn("another measurement", 48)}),
        ("other_policy", "the same guest, open to a debugger", {}, {"POLICY": SNP["POLICY"] | 1 << 19}),
        ("other_host_data", "the same guest with other host data", {}, {"HOST_DATA": bytes(32)}),
        ("other_id_key", "the same image of another signer", {}, {"ID_KEY_DIGEST": drawn("another id key digest", 48)}),
        ("now_an_author", "the same signer under an author", {}, {"AUTHOR_KEY_DIGEST": drawn("author key digest", 48)}),
        ("lower_privilege", "the same guest at a lower privilege level", {}, {"VMPL": 2}),
        ("other_family", "another product of the signer", WALLET, {"FAMILY_ID": bytes(16)}),
    ):
        yield of(name, shows, identity, fields, on(**changed))
    for name, shows, fields, changed in (
        ("older_release", "a release below the lowest", WALLET, {"GUEST_SVN": 1}),
        ("older_microcode", "a machine of older microcode", {}, {"COMMITTED_TCB": bytes([9, 0, 0, 0, 0, 0, 23, 71])}),
        ("older_boot", "newer microcode, and an older boot loader", {}, {"COMMITTED_TCB": bytes([8, 0, 0, 0, 0, 0, 23, 99])}),
    ):
        yield of(name, shows, too_old, fields, on(**changed))
    yield of("other_machine", "another machine of the same TCB", "machine.other_machine", {"TAG": bytes(16)})
    yield of("on_tdx", "for a SEV-SNP guest, and the machine is a TDX guest", "machine.wrong_backend", who=reader(GUEST))
    yield of("on_sim_snp", "a real guest's, and the guest is simulated", "machine.wrong_backend", who=reader(SIM_SNP))
    yield bad(
        "sim_snp_on_snp",
        "a simulated guest's, and the guest is real",
        "machine.wrong_backend",
        Writer("sim_snp_on_snp", [at_machine(SIM_SNP)]),
        reader(SNP_GUEST),
    )
    yield bad(
        "sim_snp_on_sim_sgx",
        "a simulated machine of another kind",
        "machine.wrong_backend",
        Writer("sim_snp_on_sim_sgx", [at_machine(SIM_SNP)]),
        reader(SIM),
    )


SECTIONS = (opens, invalid, elsewhere)
