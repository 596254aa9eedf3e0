"""The traditional zip cipher ("ZipCrypto"), applied to many files at a time.

Each byte changes the key for the next one, so one file cannot be decrypted in parallel, and byte by byte in Python is
slow (about 0.7 MB/s in the standard library). The members of an archive are independent, though: here each of them is a
lane of one numpy array and all lanes advance together, which is about fifty times as fast.

Source: PKWARE, APPNOTE.TXT 6.3, section 6.1 (traditional PKWARE encryption).
"""

import numpy as np

HEADER = 12  # random bytes before a member's data; the last one checks the password
_INITIAL = (0x12345678, 0x23456789, 0x34567890)
_FACTOR = 134775813


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    return table


_TABLE = _crc_table()
_LIST = [int(value) for value in _TABLE]


def keys_of(password: bytes) -> tuple[int, int, int]:
    """The three 32-bit keys at the start of every member."""
    keys = _INITIAL
    for byte in password:
        keys = _next(keys, byte)
    return keys


def _next(keys: tuple[int, int, int], byte: int) -> tuple[int, int, int]:
    key0 = (keys[0] >> 8) ^ _LIST[(keys[0] ^ byte) & 255]
    key1 = ((keys[1] + (key0 & 255)) * _FACTOR + 1) & 0xFFFFFFFF
    key2 = (keys[2] >> 8) ^ _LIST[(keys[2] ^ (key1 >> 24)) & 255]
    return key0, key1, key2


def decrypt_one(data: bytes, keys: tuple[int, int, int]) -> tuple[bytes, tuple[int, int, int]]:
    """Consecutive bytes of one member: the decrypted bytes, and the keys for the bytes that follow."""
    plain = bytearray(len(data))
    for index, byte in enumerate(data):
        mask = (keys[2] & 0xFFFF) | 2
        byte ^= ((mask * (mask ^ 1)) >> 8) & 255
        plain[index] = byte
        keys = _next(keys, byte)
    return bytes(plain), keys


def decrypt_lanes(cipher: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Consecutive bytes of many members at once.

    Args:
        cipher: uint8 [bytes, lanes]; column k holds the next bytes of member k.
        keys: uint32 [3, lanes], updated in place for the bytes that follow.

    Returns:
        the decrypted bytes, uint8 [bytes, lanes].
    """
    lanes = cipher.shape[1]
    key0, key1, key2 = keys
    plain = np.empty_like(cipher)
    a, b = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
    for row, out in zip(cipher, plain, strict=True):
        np.bitwise_or(key2, 2, out=a)
        np.bitwise_and(a, 0xFFFF, out=a)
        np.bitwise_xor(a, 1, out=b)
        np.multiply(a, b, out=a)
        np.right_shift(a, 8, out=a)
        np.bitwise_xor(row, a.astype(np.uint8), out=out)

        np.bitwise_xor(key0, out, out=a)
        np.bitwise_and(a, 255, out=a)
        np.take(_TABLE, a, out=b, mode="clip")
        np.right_shift(key0, 8, out=key0)
        np.bitwise_xor(key0, b, out=key0)

        np.bitwise_and(key0, 255, out=a)
        np.add(key1, a, out=key1)
        np.multiply(key1, _FACTOR, out=key1)
        np.add(key1, 1, out=key1)

        np.right_shift(key1, 24, out=a)
        np.bitwise_xor(a, key2, out=a)
        np.bitwise_and(a, 255, out=a)
        np.take(_TABLE, a, out=b, mode="clip")
        np.right_shift(key2, 8, out=key2)
        np.bitwise_xor(key2, b, out=key2)
    return plain
