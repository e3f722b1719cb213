"""ML-KEM-768 (FIPS 203) with nothing but hashlib. Section and algorithm numbers are those of the standard.

For tests: it is slow, and its running time depends on secrets.
"""

import hashlib

N, Q, K = 256, 3329, 3
ETA, DU, DV = 2, 10, 4

SEED_LEN = 64
RANDOMNESS_LEN = 32
PUBLIC_KEY_LEN = 384 * K + 32
CIPHERTEXT_LEN = 32 * (DU * K + DV)


def bit_reversed(i):
    """BitRev7, section 4.3."""
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, bit_reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * bit_reversed(i) + 1, Q) for i in range(128)]


# Hash functions, section 4.1.


def prf(seed, number):
    return hashlib.shake_256(seed + bytes([number])).digest(64 * ETA)


def hash_h(data):
    return hashlib.sha3_256(data).digest()


def hash_j(data):
    return hashlib.shake_256(data).digest(32)


def hash_g(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


# Bytes and polynomials, section 4.2.1.


def byte_encode(bits, polynomial):
    """Algorithm 5."""
    number = sum(value << bits * i for i, value in enumerate(polynomial))
    return number.to_bytes(32 * bits, "little")


def byte_decode(bits, data):
    """Algorithm 6, without its reduction modulo Q: see `is_public_key`."""
    number, mask = int.from_bytes(data, "little"), (1 << bits) - 1
    return [number >> bits * i & mask for i in range(N)]


def compress(bits, polynomial):
    return [((value << bits) + Q // 2) // Q & (1 << bits) - 1 for value in polynomial]


def decompress(bits, polynomial):
    return [(value * Q + (1 << bits - 1)) >> bits for value in polynomial]


# Sampling, section 4.2.2.


def sample_ntt(seed, column, row):
    """Algorithm 7."""
    stream = hashlib.shake_128(seed + bytes([column, row])).digest(3 * 1024)
    polynomial, at = [], 0
    while len(polynomial) < N:
        low, middle, high = stream[at : at + 3]
        at += 3
        for value in (low + 256 * (middle % 16), middle // 16 + 16 * high):
            if value < Q and len(polynomial) < N:
                polynomial.append(value)
    return polynomial


def sample_noise(seed, number):
    """Algorithm 8: a centred binomial distribution."""
    bits = int.from_bytes(prf(seed, number), "little")
    polynomial = []
    for _ in range(N):
        plus, minus = (bits & 1) + (bits >> 1 & 1), (bits >> 2 & 1) + (bits >> 3 & 1)
        polynomial.append((plus - minus) % Q)
        bits >>= 2 * ETA
    return polynomial


# Arithmetic, section 4.3.


def ntt(polynomial):
    """Algorithm 9."""
    f, i, length = list(polynomial), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def inverse_ntt(polynomial):
    """Algorithm 10."""
    f, i, length = list(polynomial), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [value * 3303 % Q for value in f]


def multiply(f, g):
    """Algorithms 11 and 12, of polynomials in the NTT domain."""
    product = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        product += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return product


def add(*polynomials):
    return [sum(values) % Q for values in zip(*polynomials)]


def subtract(f, g):
    return [(a - b) % Q for a, b in zip(f, g)]


def dot(vector, other):
    return add(*map(multiply, vector, other))


def matrix(rho):
    return [[sample_ntt(rho, j, i) for j in range(K)] for i in range(K)]


# K-PKE, section 5.


def split(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def encrypt(public_key, message, randomness):
    """Algorithm 14."""
    t = [byte_decode(12, part) for part in split(public_key[: 384 * K], 384)]
    a = matrix(public_key[384 * K :])
    y = [ntt(sample_noise(randomness, i)) for i in range(K)]
    e1 = [sample_noise(randomness, K + i) for i in range(K)]
    e2 = sample_noise(randomness, 2 * K)
    u = [add(inverse_ntt(dot([a[j][i] for j in range(K)], y)), e1[i]) for i in range(K)]
    v = add(inverse_ntt(dot(t, y)), e2, decompress(1, byte_decode(1, message)))
    return b"".join(byte_encode(DU, compress(DU, part)) for part in u) + byte_encode(DV, compress(DV, v))


def decrypt(s, ciphertext):
    """Algorithm 15."""
    u = [decompress(DU, byte_decode(DU, part)) for part in split(ciphertext[: 32 * DU * K], 32 * DU)]
    v = decompress(DV, byte_decode(DV, ciphertext[32 * DU * K :]))
    w = subtract(v, inverse_ntt(dot(s, map(ntt, u))))
    return byte_encode(1, compress(1, w))


# ML-KEM, sections 6 and 7.


class PrivateKey:
    """Algorithm 16: a key pair from the 64 bytes d ‖ z."""

    def __init__(self, seed):
        assert len(seed) == SEED_LEN
        d, self.z = seed[:32], seed[32:]
        rho, sigma = hash_g(d + bytes([K]))
        a = matrix(rho)
        self.s = [ntt(sample_noise(sigma, i)) for i in range(K)]
        e = [ntt(sample_noise(sigma, K + i)) for i in range(K)]
        t = [add(dot(a[i], self.s), e[i]) for i in range(K)]
        self.public_key = b"".join(byte_encode(12, part) for part in t) + rho

    def decapsulate(self, ciphertext):
        """Algorithm 18, with its implicit rejection."""
        assert len(ciphertext) == CIPHERTEXT_LEN
        message = decrypt(self.s, ciphertext)
        secret, randomness = hash_g(message + hash_h(self.public_key))
        if encrypt(self.public_key, message, randomness) == ciphertext:
            return secret
        return hash_j(self.z + ciphertext)


def is_public_key(data):
    """The checks of section 7.2: the length, and that every coefficient is below Q."""
    if len(data) != PUBLIC_KEY_LEN:
        return False
    return all(value < Q for part in split(data[: 384 * K], 384) for value in byte_decode(12, part))


def encapsulate(public_key, randomness):
    """Algorithm 17: the ciphertext and the shared secret."""
    assert is_public_key(public_key) and len(randomness) == RANDOMNESS_LEN
    secret, coins = hash_g(randomness + hash_h(public_key))
    return encrypt(public_key, randomness, coins), secret
