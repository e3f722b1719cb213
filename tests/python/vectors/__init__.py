"""The test vectors, each of which shows one thing: `envelope.py make DIRECTORY` writes them."""

from vectors import header, openers, opens, reading, snp


def vectors():
    for module in (opens, header, openers, reading, snp):
        for section in module.SECTIONS:
            yield from section()


def make(directory):
    names = set()
    for vector in vectors():
        assert vector.name not in names, vector.name
        names.add(vector.name)
        (directory / f"{vector.name}.bulla").write_bytes(vector.envelope)
        (directory / f"{vector.name}.json").write_text(vector.description())
