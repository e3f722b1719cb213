"""One vector: an envelope, who reads it, and what comes of it."""

import json
import struct

from envelope import CHUNK, sha256
from vectors.writer import CALLER, SECRET, SIM

MALFORMED, UNSUPPORTED, INVALID = "envelope.malformed", "envelope.unsupported", "request.invalid"
HEADER_CHANGED, PAYLOAD_CHANGED, TRUNCATED = "envelope.header_changed", "envelope.payload_changed", "envelope.truncated"

LONG = b"".join(sha256(struct.pack(">I", i)) for i in range(2 * CHUNK // 32 + 1))


def reader(machine=SIM, keys=(), context=CALLER, registers=None, shares=(), **demands):
    description = {"context": context}
    if machine:
        description["machine"] = machine.description(**registers or {})
    if keys:
        description["private_keys"] = [holder.private() for holder in keys]
    if shares:
        description["shares"] = list(shares)
    if demands:
        description["demands"] = demands
    return description


def floor(isvsvn=0, cpusvn=(), epoch=0):
    return {"ISVSVN": isvsvn, "CPUSVN": [one.hex() for one in cpusvn], "epoch": epoch}


class Vector:
    def __init__(self, name, shows, envelope, reader, **outcome):
        self.name, self.shows, self.envelope, self.reader, self.outcome = name, shows, envelope, reader, outcome

    def description(self):
        described = {"shows": self.shows, "reader": self.reader, **self.outcome}
        return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def good(name, shows, writer, who=None, secret=SECRET, slot=0, origin="none"):
    """`writer` may be the finished bytes."""
    envelope = writer if isinstance(writer, bytes) else writer.envelope()
    opened = {"secret_sha256": sha256(secret).hex(), "slot": slot, "origin": origin}
    return Vector("good_" + name, shows, envelope, who or reader(), opened=opened)


def bad(name, shows, code, writer, who=None):
    envelope = writer if isinstance(writer, bytes) else writer.envelope()
    return Vector("bad_" + name, shows, envelope, who or reader(), refused=code)
