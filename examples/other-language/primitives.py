"""Ed25519, X25519, HKDF and AES-256-GCM with Python's standard library only.

For reading and for tests: it is slow, and its timing reveals secrets. An agent that holds money
should use a library such as `cryptography`.
"""

import hashlib
import hmac

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


# Ed25519 (RFC 8032, section 6): points in extended coordinates.


def _add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _times(s, p):
    q = (0, 1, 1, 0)
    while s:
        if s & 1:
            q = _add(q, p)
        p = _add(p, p)
        s >>= 1
    return q


def _same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def _x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


_BY = 4 * pow(5, P - 2, P) % P
_BX = _x(_BY, 0)
_B = (_BX, _BY, 1, _BX * _BY % P)


def _pack(p):
    z = pow(p[2], P - 2, P)
    x, y = p[0] * z % P, p[1] * z % P
    return int.to_bytes(y | (x & 1) << 255, 32, "little")


def _unpack(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = _x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def _hash(data):
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % L


def _expand_seed(seed):
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little")
    return (a & (1 << 254) - 8) | 1 << 254, h[32:]


def public_key(seed):
    return _pack(_times(_expand_seed(seed)[0], _B))


def sign(seed, message):
    a, prefix = _expand_seed(seed)
    key = _pack(_times(a, _B))
    r = _hash(prefix + message)
    big_r = _pack(_times(r, _B))
    s = (r + _hash(big_r + key + message) * a) % L
    return big_r + int.to_bytes(s, 32, "little")


def verify(key, message, signature):
    """Strict verification: s is canonical, and neither the key nor R has a small order."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = _unpack(key), _unpack(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    if any(_same(_times(8, point), (0, 1, 1, 0)) for point in (a, r)):
        return False
    h = _hash(signature[:32] + key + message)
    return _same(_times(s, _B), _add(r, _times(h, a)))


# X25519 (RFC 7748, section 5).


def x25519(scalar, u=int.to_bytes(9, 32, "little")):
    k = int.from_bytes(scalar, "little") & (1 << 254) - 8 | 1 << 254
    x1 = int.from_bytes(u, "little") & (1 << 255) - 1
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in range(254, -1, -1):
        swap = k >> bit & 1
        if swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
        if swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
    shared = x2 * pow(z2, P - 2, P) % P
    if shared == 0:
        raise ValueError("a key of small order")
    return int.to_bytes(shared, 32, "little")


# HKDF-SHA256 (RFC 5869).


def extract(salt, key):
    return hmac.digest(salt or bytes(32), key, "sha256")


def expand(key, info, length):
    block, out = b"", b""
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


# AES-256-GCM (FIPS 197, SP 800-38D).


def _double(a):
    return (a << 1) ^ (0x11B if a & 0x80 else 0)


def _substitutions():
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p ^= _double(p)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q = (q ^ 0x09 if q & 0x80 else q) & 0xFF
        x = q
        for turn in range(1, 5):
            x ^= (q << turn | q >> 8 - turn) & 0xFF
        box[p] = x ^ 0x63
        if p == 1:
            return box


_BOX = _substitutions()


def _round_keys(key):
    words, constant = [key[i : i + 4] for i in range(0, 32, 4)], 1
    while len(words) < 60:
        word = words[-1]
        if len(words) % 8 == 0:
            word = bytes(_BOX[b] for b in word[1:] + word[:1])
            word, constant = bytes([word[0] ^ constant]) + word[1:], _double(constant)
        elif len(words) % 8 == 4:
            word = bytes(_BOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[-8])))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]


def _encrypt(keys, block):
    state = bytes(a ^ b for a, b in zip(block, keys[0]))
    for number, key in enumerate(keys[1:], 1):
        state = bytes(_BOX[state[(i + i % 4 * 4) % 16]] for i in range(16))
        if number < 14:
            mixed = []
            for i in range(0, 16, 4):
                c = state[i : i + 4]
                every = c[0] ^ c[1] ^ c[2] ^ c[3]
                mixed += [c[j] ^ every ^ _double(c[j] ^ c[(j + 1) % 4]) for j in range(4)]
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key))
    return state


def _gcm(key, nonce, data, associated, encrypts):
    keys = _round_keys(key)
    h = int.from_bytes(_encrypt(keys, bytes(16)), "big")

    def multiply(x):
        z, v = 0, h
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                z ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        return z

    def stream(counter):
        return _encrypt(keys, nonce + int.to_bytes(counter, 4, "big"))

    out = b""
    for i in range(0, len(data), 16):
        out += bytes(a ^ b for a, b in zip(data[i : i + 16], stream(i // 16 + 2)))
    tag, hashed = 0, out if encrypts else data
    lengths = int.to_bytes(len(associated) * 8, 8, "big") + int.to_bytes(len(hashed) * 8, 8, "big")
    for part in (associated, hashed, lengths):
        for i in range(0, len(part), 16):
            tag = multiply(tag ^ int.from_bytes(part[i : i + 16].ljust(16, b"\0"), "big"))
    tag ^= int.from_bytes(stream(1), "big")
    return out, int.to_bytes(tag, 16, "big")


def aes_gcm_seal(key, nonce, plaintext, associated):
    ciphertext, tag = _gcm(key, nonce, plaintext, associated, True)
    return ciphertext + tag


def aes_gcm_open(key, nonce, ciphertext, associated):
    plaintext, tag = _gcm(key, nonce, ciphertext[:-16], associated, False)
    if not hmac.compare_digest(tag, ciphertext[-16:]):
        raise ValueError("decryption failed")
    return plaintext
