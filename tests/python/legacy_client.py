"""A client of the legacy wire, written from its description alone: a 32-bit big-endian length, JSON, a libsodium box.

usage: legacy_client.py BULLA MACHINE TD HOST PORT

Makes a key pair, has the simulated machine MACHINE quote it as the guest TD, asks the provider for the key, checks that the
provider's quote covers the sealed box, opens it, and prints the key in hexadecimal.
"""

import hashlib
import json
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

from nacl.public import PrivateKey, SealedBox

# Offset of the report data in an SGX quote of version 3: header 48, then 320 bytes of the report body.
SGX_REPORT_DATA = 48 + 320


def receive(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            sys.exit("the provider closed the connection")
        data += part
    return data


def main():
    bulla, machine, td, host, port = sys.argv[1:]
    key = PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        quote = pathlib.Path(folder) / "quote"
        report_data = bytes(key.public_key) + bytes(32)
        command = [bulla, "sim", "quote", machine, "--td", td, "--report-data", report_data.hex(), "-o", str(quote)]
        subprocess.run(command, check=True)
        body = json.dumps({"quote": list(quote.read_bytes())}).encode()
    with socket.create_connection((host, int(port)), timeout=30) as stream:
        stream.sendall(struct.pack(">I", len(body)) + body)
        (length,) = struct.unpack(">I", receive(stream, 4))
        response = json.loads(receive(stream, length))
    assert set(response) == {"encrypted_key", "provider_quote"}, response.keys()
    box, quote = bytes(response["encrypted_key"]), bytes(response["provider_quote"])
    assert quote[SGX_REPORT_DATA : SGX_REPORT_DATA + 64] == hashlib.sha256(box).digest() + bytes(32)
    print(SealedBox(key).decrypt(box).hex())


main()
