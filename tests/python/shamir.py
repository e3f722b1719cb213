"""Shamir's secret sharing, byte by byte, over GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""

MODULUS = 0x11B


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= MODULUS
        b >>= 1
    return product


def inverse(a):
    assert a
    result = 1
    for _ in range(254):
        result = multiply(result, a)
    return result


def evaluate(coefficients, x):
    """The polynomial's value at `x`; the constant coefficient first."""
    value = 0
    for coefficient in reversed(coefficients):
        value = multiply(value, x) ^ coefficient
    return value


def share(secret, coefficients, x):
    """The share at `x`. `coefficients` are k - 1 strings as long as the secret, that of degree 1 first."""
    return bytes(evaluate(column, x) for column in zip(secret, *coefficients))


def combine(shares):
    """The secret from exactly k shares: a dict from x to the share."""
    secret = 0
    for x, value in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = multiply(weight, multiply(other, inverse(other ^ x)))
        secret ^= int.from_bytes(bytes(multiply(weight, byte) for byte in value), "big")
    return secret.to_bytes(32, "big")
