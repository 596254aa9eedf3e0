"""Unpacking: split, encrypted, damaged, hostile and half-done archives."""

import bz2
import gzip
import importlib.util
import io
import itertools
import lzma
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.datasets.download import zip_cipher, zip_decrypt
from samplecnn.datasets.download.archives import ArchiveError, Joined, Member, opened, safe_path, unpack
from samplecnn.errors import SampleCNNError


def beside(name):
    """A module of this folder: there are no test packages to import it from."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


cipher = beside("zip_cipher")

noise = random.Random(1).randbytes
FILES = {
    "0/one - two (live).mp3": noise(70_000),
    "0/ünï code.mp3": b"",
    "f/deep/er/three.mp3": bytes(200_000),
    "top.txt": b"hello",
}


def make_zip(files=FILES, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_tar(files=FILES, prefix=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def written(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def split(path, data, cuts):
    edges = [0, *cuts, len(data)]
    return [
        written(path.with_name(f"{path.name}.{number:03}"), data[start:end])
        for number, (start, end) in enumerate(itertools.pairwise(edges), start=1)
    ]


def test_zip(tmp_path):
    path = written(tmp_path / "a.zip", make_zip())
    members = unpack([path], tmp_path / "out", kind="zip")
    assert tree(tmp_path / "out") == FILES
    assert members == [Member(name, len(data)) for name, data in FILES.items()]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tar_in_every_packing(tmp_path, pack):
    path = written(tmp_path / "a.tar", pack(make_tar(prefix="./")))
    members = unpack([path], tmp_path / "out", kind="tar")
    assert tree(tmp_path / "out") == FILES
    assert members == [Member(name, len(data)) for name, data in FILES.items()]


@pytest.mark.parametrize("cuts", [[10], [100, 200], [0, 65_536], [1, 2, 3, 4, 5], [69_990, 70_010]])
def test_split_zip_is_read_in_place(tmp_path, cuts):
    parts = split(tmp_path / "mp3.zip", make_zip(), cuts)
    unpack(parts, tmp_path / "out", kind="zip")
    assert tree(tmp_path / "out") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(part.name for part in parts), "out"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.integers(0, 220), st.integers(0, 220))
def test_joined_reads_as_the_whole(tmp_path_factory, pieces, start, count):
    folder = tmp_path_factory.mktemp("joined")
    parts = [written(folder / str(number), piece) for number, piece in enumerate(pieces)]
    whole = b"".join(pieces)
    with opened(parts) as file:
        file.seek(start)
        assert file.read(count) == whole[start : start + count]
        assert file.seek(0, io.SEEK_END) == len(whole)
    with Joined(parts) as raw:
        assert raw.readall() == whole


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_encrypted_zip(tmp_path, deflate, stream):
    data = cipher.encrypted_zip(FILES, "DCASE_2017_training_set", deflate, stream, comment=b"a comment")
    path = written(tmp_path / "a.zip", data)
    with zipfile.ZipFile(path) as archive:  # the maker of these zips is right: Python's own reader agrees
        assert archive.read("f/deep/er/three.mp3", b"DCASE_2017_training_set") == FILES["f/deep/er/three.mp3"]
    unpack([path], tmp_path / "out", kind="zip", password="DCASE_2017_training_set")
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("workers", [1, 2])
def test_encrypted_and_split_with_many_members(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(zip_decrypt, "LANES", 64)  # more members than lanes: places are taken again
    files = {f"set/{number}.wav": noise(number * 37 % 3000) + bytes(number) for number in range(150)}
    data = cipher.encrypted_zip(files, "päss")
    parts = split(tmp_path / "a.zip", data, [len(data) // 3, len(data) // 2])
    unpack(parts, tmp_path / "out", kind="zip", password="päss", workers=workers)
    assert tree(tmp_path / "out") == files


def test_zip_made_by_the_common_tool(tmp_path):
    if not shutil.which("zip"):
        pytest.skip("the program zip is not here; the zips of zip_cipher.py stand for it")
    files = {f"{number}/some sound.wav": data for number, data in enumerate(FILES.values())}
    for name, data in files.items():
        written(tmp_path / "in" / name, data)
    subprocess.run(["zip", "-q", "-r", "-P", "secret", "../a.zip", "."], cwd=tmp_path / "in", check=True)
    unpack([tmp_path / "a.zip"], tmp_path / "out", kind="zip", password=("wrong", "secret"))
    assert tree(tmp_path / "out") == files


def test_of_several_passwords_the_right_one_is_taken(tmp_path):
    files = {f"{number}.wav": noise(100) for number in range(20)}
    path = written(tmp_path / "a.zip", cipher.encrypted_zip(files, "right"))
    wrong = [f"wrong{number}" for number in range(600)]  # every 256th would pass for a single member
    unpack([path], tmp_path / "out", kind="zip", password=[*wrong, "right"])
    assert tree(tmp_path / "out") == files


@pytest.mark.parametrize("password", [None, "wrong", ("wrong", "again")])
def test_no_password_that_fits(tmp_path, password):
    path = written(tmp_path / "a.zip", cipher.encrypted_zip(FILES, "right"))
    with pytest.raises(ArchiveError, match=r"a\.zip: .*(password).*; unpack it by hand"):
        unpack([path], tmp_path / "out", kind="zip", password=password)
    assert tree(tmp_path / "out") == {}


def test_aes_is_told_apart(tmp_path):
    data = cipher.encrypted_zip({"a.wav": b"x" * 100}, "p", deflate=False)
    place = data.index(b"PK\x01\x02") + 10
    path = written(tmp_path / "a.zip", data[:place] + (99).to_bytes(2, "little") + data[place + 2 :])
    with pytest.raises(ArchiveError, match=r"not known here .*method 99.*unpack it by hand"):
        unpack([path], tmp_path / "out", kind="zip", password="p")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=0, max_size=64), min_size=1, max_size=6), st.binary(max_size=12))
def test_lanes_decrypt_as_one_by_one(plains, password):
    secrets = [cipher.encrypt(plain, password) for plain in plains]
    length = max(len(secret) for secret in secrets)
    block = np.zeros((length, len(plains)), np.uint8)
    for lane, secret in enumerate(secrets):
        block[: len(secret), lane] = list(secret)
    keys = np.repeat(np.array(zip_cipher.keys_of(password), np.uint32)[:, None], len(plains), axis=1)
    middle = length // 2  # in two stretches: the keys go over from one to the next
    out = np.concatenate([zip_cipher.decrypt_lanes(part, keys) for part in (block[:middle], block[middle:])])
    for lane, plain in enumerate(plains):
        assert out[: len(plain), lane].tobytes() == plain
        assert zip_cipher.decrypt_one(secrets[lane], zip_cipher.keys_of(password))[0] == plain


BAD_NAMES = ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "c:evil", "..\\evil", "\\evil", "a\\..\\..\\evil", ".."]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar"])
def test_names_that_lead_out_are_refused(tmp_path, name, kind):
    files = {"good.wav": b"good", name: b"evil"}
    data = {"zip": make_zip, "tar": make_tar, "locked zip": lambda files: cipher.encrypted_zip(files, "p")}[kind](files)
    path = written(tmp_path / "in" / "a", data)
    with pytest.raises(ArchiveError, match="leads out of the folder; this archive is not to be trusted"):
        unpack([path], tmp_path / "in" / "out", kind=kind.split()[-1], password="p")
    assert set(tree(tmp_path)) <= {"in/a", "in/out/good.wav"}
    if "zip" in kind:
        assert set(tree(tmp_path)) == {"in/a"}  # judged before the first is written


@settings(max_examples=300)
@given(st.text(alphabet="ab./\\:C\0", max_size=12))
def test_safe_path_stays_inside(name):
    try:
        path = safe_path(name, "archive")
    except ArchiveError:
        return
    resolved = Path(os.path.normpath(Path("/top/of/all") / path))
    assert resolved.is_relative_to("/top/of/all") and resolved != Path("/top/of/all")
    assert "\\" not in path and "\0" not in path


def test_links_in_zips_are_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("way-out")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("way-out/passwd", b"evil")
    path = written(tmp_path / "a.zip", out.getvalue())
    with pytest.raises(ArchiveError, match="'way-out' is a link"):
        unpack([path], tmp_path / "out", kind="zip")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tars_are_refused(tmp_path, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("way-out")
        entry.type, entry.linkname = kind, "/etc"
        archive.addfile(entry)
    path = written(tmp_path / "a.tar", out.getvalue())
    with pytest.raises(ArchiveError, match="'way-out' is a link or device"):
        unpack([path], tmp_path / "out", kind="tar")
    assert list((tmp_path / "out").iterdir()) == []


def test_bombs_are_refused(tmp_path, monkeypatch):
    zeros = {"bomb.wav": bytes(8_000_000)}
    monkeypatch.setattr("samplecnn.datasets.download.archives.SLACK", 1_000_000)
    for kind, data in (("zip", make_zip(zeros)), ("tar", gzip.compress(make_tar(zeros)))):
        path = written(tmp_path / f"a.{kind}", data)
        with pytest.raises(ArchiveError, match="not to be trusted"):
            unpack([path], tmp_path / "out", kind=kind)
        assert tree(tmp_path / "out") == {}


def test_member_longer_than_it_says(tmp_path):
    """A zip that states 1,000 bytes for a member which unpacks to 1,000,000."""
    for data, password in (
        (make_zip({"a": bytes(1_000_000)}), None),
        (cipher.encrypted_zip({"a": bytes(1_000_000)}, "p"), "p"),
    ):
        lie = data.replace((1_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
        path = written(tmp_path / "a.zip", lie)
        with pytest.raises(ArchiveError, match="damaged"):
            unpack([path], tmp_path / "out", kind="zip", password=password)
        assert not (tmp_path / "out" / "a").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_more_than_the_disk_has_free(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(
        "samplecnn.datasets.download.archives.shutil.disk_usage", lambda _: type("usage", (), {"free": 100_000})
    )
    path = written(tmp_path / "a", make_zip() if kind == "zip" else make_tar())
    with pytest.raises(SampleCNNError, match=r"needs 0\.00 GB and 0\.00 GB are free; free some space"):
        unpack([path], tmp_path / "out", kind=kind)


@pytest.mark.parametrize("cut", [0, 10, 500, 35_000, 69_000, -200, -20, -1])
@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar.gz"])
def test_truncated_archive_names_itself_and_the_remedy(tmp_path, kind, cut):
    data = {
        "zip": make_zip,
        "locked zip": lambda: cipher.encrypted_zip(FILES, "p"),
        "tar.gz": lambda: gzip.compress(make_tar(), mtime=0),
    }[kind]()
    path = written(tmp_path / "a.archive", data[:cut])
    with pytest.raises(ArchiveError) as caught:
        unpack([path], tmp_path / "out", kind=kind[-3:] if "zip" in kind else "tar", password="p")
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged archive (") and "\n" not in message
    assert message.endswith("; delete it and run the same command again")
    for name, found in tree(tmp_path / "out").items():  # what is there is whole
        assert found == FILES[name]


@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar.gz"])
def test_flipped_byte_is_found(tmp_path, kind):
    if kind == "tar.gz":
        data, password = bytearray(gzip.compress(make_tar(), mtime=0)), None
    else:
        data = bytearray(make_zip() if kind == "zip" else cipher.encrypted_zip(FILES, "p"))
        password = "p"
    data[30_000] ^= 0x55
    path = written(tmp_path / "a", bytes(data))
    with pytest.raises(ArchiveError, match="damaged archive"):
        unpack([path], tmp_path / "out", kind="tar" if kind == "tar.gz" else "zip", password=password)


def test_damage_found_by_a_worker_is_the_same_one_line(tmp_path):
    data = bytearray(cipher.encrypted_zip(FILES, "p"))
    data[30_000] ^= 0x55
    path = written(tmp_path / "a.zip", bytes(data))
    with pytest.raises(
        ArchiveError, match=r"a\.zip: damaged archive \(.*\); delete it and run the same command again$"
    ):
        unpack([path], tmp_path / "out", kind="zip", password="p", workers=2)


def test_missing_middle_part(tmp_path):
    parts = split(tmp_path / "mp3.zip", make_zip(), [20_000, 40_000])
    with pytest.raises(ArchiveError, match=r"mp3\.zip\.001 to mp3\.zip\.003: damaged archive .*; delete these parts"):
        unpack([parts[0], parts[2]], tmp_path / "out", kind="zip")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_damage_is_more_than_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    kind = data.draw(st.sampled_from(["zip", "locked", "tar", "tgz"]))
    small = {"a/b.wav": b"some sound" * 20, "c.txt": b""}
    whole = bytearray(
        {
            "zip": lambda: make_zip(small),
            "locked": lambda: cipher.encrypted_zip(small, "p"),
            "tar": lambda: make_tar(small),
            "tgz": lambda: gzip.compress(make_tar(small), mtime=0),
        }[kind]()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = written(folder / "a", bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        unpack([path], folder / "in" / "out", kind="zip" if kind in ("zip", "locked") else "tar", password="p")
    except SampleCNNError as error:
        assert "\n" not in str(error)
    assert {name.split("/")[0] for name in tree(folder)} <= {"a", "in"}
    assert {name.split("/")[1] for name in tree(folder) if name != "a"} <= {"out"}


@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar"])
def test_what_is_there_is_not_written_again(tmp_path, kind):
    data = {"zip": make_zip, "tar": make_tar, "locked zip": lambda: cipher.encrypted_zip(FILES, "p")}[kind]()
    path, out = written(tmp_path / "a", data), tmp_path / "out"
    unpack([path], out, kind=kind.split()[-1], password="p")
    before = {name: (out / name).stat().st_ino for name in FILES}
    (out / "top.txt").write_bytes(b"hel")  # cut off
    (out / "f/deep/er/three.mp3").unlink()
    unpack([path], out, kind=kind.split()[-1], password="p")
    assert tree(out) == FILES
    after = {name: (out / name).stat().st_ino for name in FILES}
    assert {name for name in FILES if before[name] == after[name]} >= {"0/one - two (live).mp3", "0/ünï code.mp3"}


def test_leftovers_of_a_killed_run_go(tmp_path):
    path, out = written(tmp_path / "a.zip", make_zip()), tmp_path / "out"
    from samplecnn.datasets.download.archives import aside

    for name in FILES:
        written(aside(out / name), b"half of it")
    unpack([path], out, kind="zip")
    assert tree(out) == FILES


def test_a_file_in_the_place_of_a_folder(tmp_path):
    written(tmp_path / "out" / "0", b"")
    path = written(tmp_path / "a.zip", make_zip())
    with pytest.raises(ArchiveError, match="a file is in the place of a folder"):
        unpack([path], tmp_path / "out", kind="zip")


def test_notes_of_a_mac_are_left_out(tmp_path):
    path = written(tmp_path / "a.zip", make_zip({"a.wav": b"1", "__MACOSX/._a.wav": b"2"}))
    assert unpack([path], tmp_path / "out", kind="zip") == [Member("a.wav", 1)]
    assert tree(tmp_path / "out") == {"a.wav": b"1"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("workers", [1, 2])
def test_disk_that_fills_up_while_unlocking_is_told(tmp_path, workers):
    from samplecnn.datasets.download.archives import aside

    out = tmp_path / "out"
    out.mkdir()
    aside(out / "a.wav").symlink_to("/dev/full")
    path = written(tmp_path / "a.zip", cipher.encrypted_zip({"a.wav": noise(1000), "b.wav": b"b"}, "p"))
    with pytest.raises(OSError, match="No space left on device"):
        unpack([path], out, kind="zip", password="p", workers=workers)
