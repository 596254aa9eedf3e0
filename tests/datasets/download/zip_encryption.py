"""Zips encrypted with the traditional cipher, which Python's zipfile reads but does not write.

Written from PKWARE's APPNOTE.TXT 6.3, section 6.1, independently of the code under test.
"""

import random
import struct
import zlib

noise = random.Random(0).randbytes  # equal headers would make the password checks depend on each other

CRC = [0] * 256
for _index in range(256):
    _value = _index
    for _ in range(8):
        _value = _value >> 1 ^ (0xEDB88320 if _value & 1 else 0)
    CRC[_index] = _value


def encrypt(data: bytes, password: bytes) -> bytes:
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ CRC[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 0x08088405 + 1) & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ CRC[(keys[2] ^ keys[1] >> 24) & 0xFF]

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in data:
        temp = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ (temp * (temp ^ 1) >> 8 & 0xFF))
        update(byte)
    return bytes(out)


def encrypted_zip(
    files: dict[str, bytes], password: str, deflate: bool = True, stream: bool = False, comment: bytes = b""
) -> bytes:
    """A zip of `files`. stream: as written to a pipe, with sizes after the data and the time as the check byte."""
    out, directory = bytearray(), bytearray()
    clock, day = 13 << 11 | 37 << 5 | 21, (2017 - 1980) << 9 | 11 << 5 | 16
    for name, data in files.items():
        crc = zlib.crc32(data)
        packed = data
        if deflate:
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(data) + packer.flush()
        check = clock >> 8 if stream else crc >> 24
        encrypted = encrypt(noise(11) + bytes([check & 0xFF]) + packed, password.encode())
        flags = 0x801 | (8 if stream else 0)
        fields = struct.pack("<HHHHHIII", 20, flags, 8 if deflate else 0, clock, day, crc, len(encrypted), len(data))
        encoded = name.encode()
        place = len(out)
        local = struct.pack("<HHHHHIII", 20, flags, 8 if deflate else 0, clock, day, 0, 0, 0) if stream else fields
        out += b"PK\x03\x04" + local + struct.pack("<HH", len(encoded), 0) + encoded + encrypted
        if stream:
            out += b"PK\x07\x08" + struct.pack("<III", crc, len(encrypted), len(data))
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields
        directory += struct.pack("<HHHHHII", len(encoded), 0, 0, 0, 0, 0o644 << 16, place) + encoded
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(out), len(comment)) + comment
    return bytes(out + directory + b"PK\x05\x06" + end)
