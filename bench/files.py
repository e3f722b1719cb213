"""Times whole commands in turn, and takes their peak memory from GNU time. Started by files.sh."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BULLA = Path(os.environ["BULLA"]).resolve()
QUICK = "--quick" in sys.argv[1:]
ROUNDS = 1 if QUICK else 9
SIZE = (1 << 20) if QUICK else (1 << 30)
SPARSE = (1 << 24) if QUICK else (8 << 30)
MEMORY = Path("/dev/shm")


def run(command, **streams):
    """Wall seconds and peak MiB of a command that must succeed."""
    with tempfile.NamedTemporaryFile() as report:
        before = time.perf_counter()
        subprocess.run(["/usr/bin/time", "-f", "%M", "-o", report.name, *map(str, command)],
                       check=True, stderr=subprocess.DEVNULL, **streams)
        return time.perf_counter() - before, int(report.read()) / 1024


def quietly(*command):
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip()


def commands(folder):
    """What makes a file out of another: name, whether it encrypts, command, what it reads."""
    plain, out = folder / "plain", folder / "out"
    machine = ["--machine", f"sim:{folder / 'machine'}", "--context", "bench"]
    quietly(BULLA, "sim", "new", folder / "machine")
    found = [("cp", True, ["cp", plain, out], plain), ("cp", False, ["cp", plain, out], plain)]

    def both(name, encrypt, decrypt):
        sealed = folder / f"plain.{name}"
        found.append((name, True, [*encrypt, "-o", out, plain], plain))
        found.append((name, False, [*decrypt, "-o", out, sealed], sealed))

    both("bulla", [BULLA, "seal", *machine], [BULLA, "unseal", *machine])
    if shutil.which("age"):
        quietly("age-keygen", "-o", folder / "age.key")
        age = quietly("age-keygen", "-y", folder / "age.key")
        both("age", ["age", "-r", age], ["age", "-d", "-i", folder / "age.key"])
        if shutil.which("rage"):
            both("rage", ["rage", "-r", age], ["rage", "-d", "-i", folder / "age.key"])
    return found


def speed(folder):
    plain, out = folder / "plain", folder / "out"
    block = os.urandom(1 << 20)
    with plain.open("wb") as file:
        for index in range(SIZE >> 20):
            file.write(index.to_bytes(8, "big") + block[8:])
    subjects = commands(folder)
    for name, encrypts, command, _ in subjects:
        if encrypts and name != "cp":
            run(command)
            out.rename(folder / f"plain.{name}")

    taken = {(name, encrypts): [] for name, encrypts, *_ in subjects}
    peak = dict.fromkeys(taken, 0)
    for turn in range(ROUNDS + 1):
        for name, encrypts, command, _ in subjects:
            out.unlink(missing_ok=True)
            seconds, memory = run(command)
            if turn > 0:  # the first warms up
                taken[name, encrypts].append(seconds)
                peak[name, encrypts] = max(peak[name, encrypts], memory)
            if not encrypts:
                quietly("cmp", plain, out)
    out.unlink()

    print(f"## {SIZE >> 20} MiB in {MEMORY}, whole command, median of {ROUNDS} in turn\n")
    print("| | | s (least to most) | GB/s | peak MiB | bulla is faster | best turns |\n|---|---|---|---|---|---|---|")
    for (name, encrypts), seconds in taken.items():
        ours = taken["bulla", encrypts]
        ratio = statistics.median(other / own for other, own in zip(seconds, ours))
        median, best = statistics.median(seconds), min(seconds) / min(ours)
        spread = f"{median:.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
        print(f"| {name} | {'seal' if encrypts else 'open'} | {spread} | {SIZE / median / 1e9:.2f} | "
              f"{peak[name, encrypts]:.1f} | {ratio:.2f} times | {best:.2f} |")


def memory(folder):
    """Inputs of other kinds and sizes: they come back as they were, in the same memory."""
    machine = ["--machine", f"sim:{folder / 'machine'}", "--context", "bench"]
    seal, unseal = [BULLA, "seal", *machine], [BULLA, "unseal", *machine]
    sealed, out = folder / "sealed", folder / "out"
    print("\n## Peak memory, MiB\n\n| | seal | open |\n|---|---|---|")

    def show(what, first, second):
        print(f"| {what} | {first:.1f} | {second:.1f} |")

    byte = folder / "byte"
    byte.write_bytes(b"x")
    (_, first), (_, second) = run([*seal, "-o", sealed, byte]), run([*unseal, "-o", out, sealed])
    assert out.read_bytes() == b"x"
    show("1 byte", first, second)

    def piped(source, what, check):
        """Through pipes all the way; how much memory each end took."""
        peaks = {}
        read_end, write_end = os.pipe()

        def first():
            with source() as input, os.fdopen(write_end, "wb") as output:
                peaks["seal"] = run(seal, stdin=input, stdout=output)[1]

        sealing = threading.Thread(target=first)
        sealing.start()
        with subprocess.Popen(check, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as checking:
            with os.fdopen(read_end, "rb") as input, checking.stdin as output:
                peaks["open"] = run(unseal, stdin=input, stdout=output)[1]
            said = checking.stdout.read().split()[0].decode()
        sealing.join()
        show(what, peaks["seal"], peaks["open"])
        return said

    plain = folder / "plain"
    wanted = quietly("sha256sum", plain).split()[0]
    cat = lambda: subprocess.Popen(["cat", plain], stdout=subprocess.PIPE).stdout
    assert piped(cat, f"{SIZE >> 20} MiB by pipes", ["sha256sum"]) == wanted

    sparse = folder / "sparse"
    with sparse.open("wb") as file:
        file.truncate(SPARSE)
    assert piped(lambda: sparse.open("rb"), f"a sparse file of {SPARSE >> 20} MiB, by pipes", ["wc", "-c"]) == str(SPARSE)
    sparse.unlink()

    growing = folder / "growing"
    growing.write_bytes(b"0" * (SIZE // 8))
    stop = threading.Event()

    def grow():
        with growing.open("ab", buffering=0) as file:
            written = 0
            while not stop.is_set() and written < SIZE:
                written += file.write(written.to_bytes(8, "big") * 8192)
                time.sleep(0.0005)

    writer = threading.Thread(target=grow)
    writer.start()
    _, first = run([*seal, "-o", sealed, growing])
    stop.set()
    writer.join()
    _, second = run([*unseal, "-o", out, sealed])
    assert growing.stat().st_size >= out.stat().st_size >= SIZE // 8
    quietly("cmp", "-n", out.stat().st_size, growing, out)
    grew = out.stat().st_size - SIZE // 8
    show(f"a file that grew by {grew >> 10} KiB meanwhile", first, second)


with tempfile.TemporaryDirectory(prefix="bulla-bench-", dir=MEMORY) as name:
    speed(Path(name))
    memory(Path(name))
