#!/usr/bin/env python3
"""Judges an audit log against docs/spec/audit.md, with hashlib and an Ed25519 of its own (RFC 8032, section 5.1).

usage: audit.py FILE...

Prints the number of lines, of good checkpoints, and the head; exits 1 on the first thing that is wrong.
"""

import hashlib
import json
import sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def point(data):
    """Decodes a point; None where there is none."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x, y)


def add(a, b):
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, P - 2, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, P - 2, P)
    return (x % P, y % P)


def times(number, of):
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, of)
        of, number = add(of, of), number >> 1
    return result


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, message, signature):
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or len(signature) != 64:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    h = int.from_bytes(digest, "little") % L
    return times(s, BASE) == add(r, times(h, a))


def prefixed(value):
    return len(value).to_bytes(4, "big") + value


def checkpoint(head, count):
    parts = [("head", head), ("count", count.to_bytes(8, "big"))]
    named = (prefixed(name.encode()) + prefixed(value) for name, value in parts)
    return prefixed(b"bulla/audit-checkpoint/v1") + b"".join(named)


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError("a field is there twice")
    return dict(pairs)


def judge(text):
    number, head, key, good = 0, bytes(32), None, 0
    junk, lines = b"", text.split(b"\n")
    if lines.pop():
        sys.exit("the log does not end with a line feed")
    for place, raw in enumerate(lines, 1):
        try:
            line = json.loads(raw, object_pairs_hook=unique)
            follows = (line["number"], line["prev"]) == (number + 1, head.hex())
        except (ValueError, KeyError, TypeError):
            follows = False
        if not follows:
            junk += raw + b"\n"
            continue
        if junk:
            wanted = ("recovered", len(junk), hashlib.sha256(junk).hexdigest())
            if (line["entry"], line.get("bytes"), line.get("sha256")) != wanted:
                sys.exit(f"line {place}: what is before it is no line")
            junk = b""
        if line["entry"] in ("start", "statement", "continued"):
            key = bytes.fromhex(line["signing_key"])
        if line["entry"] == "checkpoint":
            if not signed(key, checkpoint(head, number), bytes.fromhex(line["signature"])):
                sys.exit(f"line {place}: the signature does not verify")
            good += 1
        number, head = number + 1, hashlib.sha256(raw).digest()
    if junk:
        sys.exit(f"the last {len(junk)} bytes do not follow")
    print(f"{number} lines, {good} checkpoints, head {head.hex()}")


if __name__ == "__main__":
    judge(b"".join(open(name, "rb").read() for name in sys.argv[1:]))
