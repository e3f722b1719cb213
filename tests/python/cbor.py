"""CBOR (RFC 8949) of unsigned integers, byte strings, texts, arrays and maps, in the deterministic encoding of section 4.2.1."""

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
DEPTH = 4


class Malformed(Exception):
    """Not CBOR, or not in its deterministic encoding."""


# Writing.


def head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    raise ValueError(argument)


def encode(value):
    if type(value) is int and value >= 0:
        return head(UNSIGNED, value)
    if type(value) is bytes:
        return head(BYTES, len(value)) + value
    if type(value) is str:
        text = value.encode()
        return head(TEXT, len(text)) + text
    if type(value) is list:
        return head(ARRAY, len(value)) + b"".join(map(encode, value))
    if type(value) is dict:
        entries = sorted((encode(key), encode(entry)) for key, entry in value.items())
        return head(MAP, len(value)) + b"".join(key + entry for key, entry in entries)
    raise TypeError(value)


# Reading.


class Decoder:
    """Reads item by item. It never takes more memory than the data have bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise Malformed("cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def head(self):
        """Major type, the lower five bits, and the argument: None if there is none."""
        (byte,) = self.take(1)
        major, info = byte >> 5, byte & 31
        if info < 24:
            return major, info, info
        if info < 28:
            return major, info, int.from_bytes(self.take(1 << info - 24), "big")
        if info < 31:
            raise Malformed("reserved")
        return major, info, None

    def item(self, depth=DEPTH):
        """One item. Whatever is not deterministic is refused."""
        start = self.at
        major, _, argument = self.head()
        if major in (NEGATIVE, TAG, SIMPLE) or argument is None:
            raise Malformed("a type that has no place here, or an indefinite length")
        if head(major, argument) != self.data[start : self.at]:
            raise Malformed("not in the shortest form")
        if major == UNSIGNED:
            return argument
        if major == BYTES:
            return self.take(argument)
        if major == TEXT:
            return self.text(argument)
        if depth == 0:
            raise Malformed("too deep")
        if major == ARRAY:
            return [self.item(depth - 1) for _ in self.counted(argument)]
        return self.map(argument, depth)

    def text(self, size):
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Malformed("not UTF-8") from None

    def map(self, count, depth):
        entries, last = {}, b""
        for _ in self.counted(count):
            start = self.at
            key = self.item(0)
            encoded = self.data[start : self.at]
            if encoded <= last:
                raise Malformed("keys not in ascending order")
            entries[key], last = self.item(depth - 1), encoded
        return entries

    def counted(self, count):
        """Each item takes a byte, so a count of more is a lie."""
        if count > len(self.data) - self.at:
            raise Malformed("cut short")
        return range(count)

    def skip(self):
        """One well-formed item of any type (RFC 8949, appendix C), however deep."""
        open_items = [1]
        while open_items:
            if open_items[-1] == 0:
                open_items.pop()
                continue
            major, info, argument = self.head()
            if major == SIMPLE and info == 31:
                if open_items[-1] is not None:
                    raise Malformed("a break outside an indefinite length")
                open_items.pop()
                continue
            if open_items[-1] is not None:
                open_items[-1] -= 1
            if argument is None and major in (UNSIGNED, NEGATIVE, TAG):
                raise Malformed("reserved")
            if argument is None:
                open_items.append(None)
            elif major in (BYTES, TEXT):
                self.take(argument)
            elif major == ARRAY:
                open_items.append(argument)
            elif major == MAP:
                open_items.append(2 * argument)
            elif major == TAG:
                open_items.append(1)


def decode(data):
    """The one item that `data` is."""
    decoder = Decoder(data)
    value = decoder.item()
    if decoder.at != len(data):
        raise Malformed("something follows")
    return value


def keys_of_map(data):
    """The keys of a map, in their order, as long as they are unsigned integers; what they stand for may be anything."""
    decoder = Decoder(data)
    major, _, count = decoder.head()
    if major != MAP or count is None:
        raise Malformed("not a map of definite length")
    for _ in decoder.counted(count):
        major, _, key = decoder.head()
        if major != UNSIGNED or key is None:
            raise Malformed("a key that is not an unsigned integer")
        yield key
        decoder.skip()
