"""TCB levels by Intel's description of the algorithm (PCS API v4, "Get TCB Info": how to determine the status; and the same for QE
identity and TDX module), and by nothing else. Second to `bulla-attest`, and to Intel's library where that is too old to know.
"""

import json

# What a status becomes when the TDX module's or the QE's is out of date.
OUT_OF_DATE = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}


def octets(der: bytes, arc: list, tag: int) -> bytes:
    """A value in Intel's extension of a PCK certificate, by what follows 1.2.840.113741.1.13.1 in its name."""
    name = bytes.fromhex("2a864886f84d010d01") + bytes(arc)
    before = bytes([6, len(name)]) + name + bytes([tag])
    at = der.index(before) + len(before)
    return der[at + 1 : at + 1 + der[at]]


def svn(der: bytes, arc: list) -> int:
    return int.from_bytes(octets(der, arc, 2), "big")


def components(tcb: dict, name: str) -> list:
    return [component["svn"] for component in tcb[name]]


def converge(status: str, other: str) -> str:
    if "Revoked" in (status, other):
        return "Revoked"
    return OUT_OF_DATE.get(status, status) if other == "OutOfDate" else status


def by_isvsvn(levels: list, found: int) -> dict:
    return next(level for level in levels if found >= level["tcb"]["isvsvn"])


def level(leaf: bytes, quote: bytes, qe_report: bytes, tcb_info: str, qe_identity: str):
    """Status and advisories, or None if there is no level."""
    info, identity = json.loads(tcb_info), json.loads(qe_identity)
    own = [svn(leaf, [2, component]) for component in range(1, 17)]
    pcesvn = svn(leaf, [2, 17])
    body = {3: 48, 4: 48, 5: 54}[quote[0]]
    tdx = list(quote[body : body + 16]) if info["id"] == "TDX" else None
    # The first two components are those of a TDX module that has no identity of its own.
    first = 2 if tdx and tdx[1] > 0 else 0

    def met(found: dict) -> bool:
        tcb = found["tcb"]
        wanted = components(tcb, "sgxtcbcomponents")
        if any(have < want for have, want in zip(own, wanted)) or pcesvn < tcb["pcesvn"]:
            return False
        if tdx is None:
            return True
        wanted = components(tcb, "tdxtcbcomponents")
        return all(have >= want for have, want in zip(tdx[first:], wanted[first:]))

    try:
        levels = [next(found for found in info["tcbLevels"] if met(found))]
        if first:
            [module] = [module for module in info["tdxModuleIdentities"] if module["id"] == f"TDX_{tdx[1]:02X}"]
            levels.append(by_isvsvn(module["tcbLevels"], tdx[0]))
        levels.append(by_isvsvn(identity["tcbLevels"], int.from_bytes(qe_report[258:260], "little")))
    except (StopIteration, ValueError):
        return None
    status = levels[0]["tcbStatus"]
    for found in levels[1:]:
        status = converge(status, found["tcbStatus"])
    return {
        "status": status,
        "advisories": sorted({id for found in levels for id in found.get("advisoryIDs", [])}),
    }
