"""Intel's own quote verification library, asked for its verdict: one question a line on standard input, one answer a line on
standard output, both JSON.

A question has the `quote` in hex, the `collateral` as the Provisioning Certification Service's items, the time `now`, and whether
the `level` by `levels.py` is wanted. The answer has the status of each of the library's steps by the library's names, what it read of an enclave's report, the names of the
platform, which this script reads, and that level.

The library leaves some to its callers: to take the PCK chain out of the quote, to cut padding off, to have a root in each chain.
"""

import base64
import datetime
import json
import re
import sys

import levels
from sgx_dcap_quote_verify import verify

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----\s*", re.DOTALL)
# What is before the QE's authentication data in the signature data: length, signature, key, header of the outer certification
# data if there is one, QE report, its signature.
BEFORE_AUTH = {3: 4 + 128 + 448, 4: 4 + 128 + 6 + 448, 5: 4 + 128 + 6 + 448}
# In Intel's extension of a PCK certificate (1.2.840.113741.1.13.1): last number of the name, and how long the octets are.
NAMES = {"ppid": (1, 16), "pceid": (3, 2), "fmspc": (4, 6)}


def pem(der: bytes, label: str) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def signed_length(quote: bytes) -> int:
    """Header and report."""
    version = number(quote, 0, 2)
    return 54 + number(quote, 50, 4) if version == 5 else 48 + {3: 384, 4: 584}.get(version, 0)


def pck_chain(quote: bytes) -> str:
    """The text of the certification data, which callers of the library take out of the quote for it."""
    version = number(quote, 0, 2)
    if version not in BEFORE_AUTH:
        return ""
    auth = signed_length(quote) + BEFORE_AUTH[version]
    data = auth + 2 + number(quote, auth, 2)
    if number(quote, data, 2) != 5:
        return ""
    return quote[data + 6 : data + 6 + number(quote, data + 2, 4)].decode("latin-1").rstrip("\0")


def without_padding(quote: bytes) -> bytes:
    """Without zeros after the declared end, which the library takes for a part of the quote."""
    at = signed_length(quote)
    end = at + 4 + number(quote, at, 4)
    return quote[:end] if not any(quote[end:]) else quote


def der_of(leaf: str) -> bytes:
    found = CERTIFICATE.fullmatch(leaf)
    try:
        return base64.b64decode(found[1]) if found else b""
    except ValueError:
        return b""


def platform(der: bytes) -> dict:
    """The names of the platform, which the library reads but does not tell."""
    names = {}
    for name, (arc, length) in NAMES.items():
        before = bytes.fromhex("060a2a864886f84d010d01") + bytes([arc, 4, length])
        at = der.find(before) + len(before)
        names[name] = der[at : at + length].hex() if before in der else None
    return names


def with_root(chain: str, root: str, others: int) -> str:
    """The root completes a chain that has but the others."""
    return chain + root if len(CERTIFICATE.findall(chain)) == others else chain


def level(question: dict, quote: bytes, leaf: bytes):
    """If it is asked for, and only of evidence that was found to be in order."""
    if not question["level"]:
        return None
    qe_report = signed_length(quote) + BEFORE_AUTH[quote[0]] - 448
    items = question["collateral"]
    return levels.level(leaf, quote, quote[qe_report:], items["tcb_info"], items["qe_identity"])


def moment(now: int) -> datetime.datetime:
    latest = datetime.datetime(9999, 12, 31)
    if now >= latest.replace(tzinfo=datetime.timezone.utc).timestamp():
        return latest
    # The library takes it for local time.
    return datetime.datetime.fromtimestamp(now)


def crl(digits: str) -> str:
    try:
        return pem(bytes.fromhex(digits), "X509 CRL")
    except ValueError:
        return digits


def answer(question: dict, root: str) -> dict:
    quote, items = without_padding(bytes.fromhex(question["quote"])), question["collateral"]
    chain = pck_chain(quote)
    first = CERTIFICATE.search(chain)
    leaf = first.group() if first else ""

    def ask(signers: str):
        return verify(
            trusted_root_ca_certificate=root,
            pck_certificate=leaf,
            pck_signing_chain=with_root(chain[len(leaf) :], root, 1) if chain.startswith(leaf) else chain,
            root_ca_crl=crl(items["root_ca_crl"]),
            intermediate_ca_crl=crl(items["pck_crl"]),
            tcb_info=f'{{"tcbInfo":{items["tcb_info"]},"signature":"{items["tcb_info_signature"]}"}}',
            tcb_signing_chain=with_root(signers, root, 1),
            quote=quote,
            qe_identity=f'{{"enclaveIdentity":{items["qe_identity"]},"signature":"{items["qe_identity_signature"]}"}}',
            expiration_date=moment(question["now"]),
        )

    # One chain serves both documents in this interface.
    found = ask(items["tcb_info_issuer_chain"])
    other = found
    if items["qe_identity_issuer_chain"] != items["tcb_info_issuer_chain"]:
        other = ask(items["qe_identity_issuer_chain"])
    steps = [found.pck_certificate_status, found.tcb_info_status, other.qe_identity_status, found.quote_status]
    report = found.enclave_report
    return {
        "steps": [step.name.removeprefix("STATUS_") for step in steps],
        "platform": platform(der_of(leaf)),
        "level": level(question, quote, der_of(leaf)),
        "report": report
        and {
            "cpusvn": report.cpu_svn.hex(),
            "attributes": report.attributes.hex(),
            "mrenclave": report.mr_enclave.hex(),
            "mrsigner": report.mr_signer.hex(),
            "isv_prod_id": report.isv_prod_id.value,
            "isv_svn": report.isv_svn.value,
            "misc_select": report.misc_select.value,
            "report_data": report.report_data.hex(),
        },
    }


def main() -> None:
    [_, root] = sys.argv
    root = pem(bytes.fromhex(root), "CERTIFICATE")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), root)), flush=True)


main()
