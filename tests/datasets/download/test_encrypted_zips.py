"""Encrypted zips: passwords, many members at once, worker processes."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_maker import FILES, noise, split, tree, written
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_encryption import encrypt, encrypted_zip

from samplecnn.datasets.download import zip_cipher, zip_decrypt
from samplecnn.datasets.download.archive_parts import ArchiveError, temporary_path
from samplecnn.datasets.download.archives import unpack


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_encrypted_zip(tmp_path, deflate, stream):
    data = encrypted_zip(FILES, "DCASE_2017_training_set", deflate, stream, comment=b"a comment")
    path = written(tmp_path / "a.zip", data)
    with zipfile.ZipFile(path) as archive:  # Python's own reader decrypts what the test helper encrypted
        assert archive.read("f/deep/er/three.mp3", b"DCASE_2017_training_set") == FILES["f/deep/er/three.mp3"]
    unpack([path], tmp_path / "out", kind="zip", password="DCASE_2017_training_set")
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("workers", [1, 2])
def test_encrypted_and_split_with_many_members(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(zip_decrypt, "LANES", 64)  # more members than lanes: lanes are reused
    files = {f"set/{number}.wav": noise(number * 37 % 3000) + bytes(number) for number in range(150)}
    data = encrypted_zip(files, "päss")
    parts = split(tmp_path / "a.zip", data, [len(data) // 3, len(data) // 2])
    unpack(parts, tmp_path / "out", kind="zip", password="päss", workers=workers)
    assert tree(tmp_path / "out") == files


def test_zip_of_the_program_zip(tmp_path):
    if not shutil.which("zip"):
        pytest.skip("the program zip is not installed; the other tests use zips of zip_encryption.py")
    files = {f"{number}/some sound.wav": data for number, data in enumerate(FILES.values())}
    for name, data in files.items():
        written(tmp_path / "in" / name, data)
    subprocess.run(["zip", "-q", "-r", "-P", "secret", "../a.zip", "."], cwd=tmp_path / "in", check=True)
    unpack([tmp_path / "a.zip"], tmp_path / "out", kind="zip", password=("wrong", "secret"))
    assert tree(tmp_path / "out") == files


def test_the_matching_one_of_several_passwords_is_used(tmp_path):
    files = {f"{number}.wav": noise(100) for number in range(20)}
    path = written(tmp_path / "a.zip", encrypted_zip(files, "right"))
    wrong = [f"wrong{number}" for number in range(600)]  # every 256th would pass for a single member
    unpack([path], tmp_path / "out", kind="zip", password=[*wrong, "right"])
    assert tree(tmp_path / "out") == files


@pytest.mark.parametrize("password", [None, "wrong", ("wrong", "again")])
def test_no_matching_password(tmp_path, password):
    path = written(tmp_path / "a.zip", encrypted_zip(FILES, "right"))
    with pytest.raises(ArchiveError, match=r"a\.zip: .*(password).*; unpack it by hand"):
        unpack([path], tmp_path / "out", kind="zip", password=password)
    assert tree(tmp_path / "out") == {}


def test_aes_encryption_is_named(tmp_path):
    data = encrypted_zip({"a.wav": b"x" * 100}, "p", deflate=False)
    place = data.index(b"PK\x01\x02") + 10
    path = written(tmp_path / "a.zip", data[:place] + (99).to_bytes(2, "little") + data[place + 2 :])
    with pytest.raises(ArchiveError, match=r"unsupported compression or encryption .*method 99.*unpack it by hand"):
        unpack([path], tmp_path / "out", kind="zip", password="p")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=0, max_size=64), min_size=1, max_size=6), st.binary(max_size=12))
def test_many_lanes_decrypt_like_one_file_at_a_time(plains, password):
    encrypted = [encrypt(plain, password) for plain in plains]
    length = max(len(data) for data in encrypted)
    block = np.zeros((length, len(plains)), np.uint8)
    for lane, data in enumerate(encrypted):
        block[: len(data), lane] = list(data)
    keys = np.repeat(np.array(zip_cipher.keys_of(password), np.uint32)[:, None], len(plains), axis=1)
    middle = length // 2  # in two calls: the keys of the first continue in the second
    out = np.concatenate([zip_cipher.decrypt_lanes(part, keys) for part in (block[:middle], block[middle:])])
    for lane, plain in enumerate(plains):
        assert out[: len(plain), lane].tobytes() == plain
        assert zip_cipher.decrypt_one(encrypted[lane], zip_cipher.keys_of(password))[0] == plain


def test_damage_found_by_a_worker_is_a_single_line(tmp_path):
    data = bytearray(encrypted_zip(FILES, "p"))
    data[30_000] ^= 0x55
    path = written(tmp_path / "a.zip", bytes(data))
    with pytest.raises(
        ArchiveError, match=r"a\.zip: damaged archive \(.*\); delete it and run the same command again$"
    ):
        unpack([path], tmp_path / "out", kind="zip", password="p", workers=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("workers", [1, 2])
def test_disk_full_while_decrypting(tmp_path, workers):
    out = tmp_path / "out"
    out.mkdir()
    temporary_path(out / "a.wav").symlink_to("/dev/full")
    path = written(tmp_path / "a.zip", encrypted_zip({"a.wav": noise(1000), "b.wav": b"b"}, "p"))
    with pytest.raises(OSError, match="No space left on device"):
        unpack([path], out, kind="zip", password="p", workers=workers)
