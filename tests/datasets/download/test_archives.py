"""Unpacking zips and tars: split archives, damage, resuming, disk space."""

import bz2
import gzip
import io
import lzma

import pytest
from archive_maker import FILES, make_tar, make_zip, split, tree, written
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_encryption import encrypted_zip

from samplecnn.datasets.download.archive_parts import ArchiveError, SplitFile, open_parts, temporary_path
from samplecnn.datasets.download.archives import Member, unpack
from samplecnn.errors import SampleCNNError


def test_zip(tmp_path):
    path = written(tmp_path / "a.zip", make_zip())
    members = unpack([path], tmp_path / "out", kind="zip")
    assert tree(tmp_path / "out") == FILES
    assert members == [Member(name, len(data)) for name, data in FILES.items()]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tar_in_every_compression(tmp_path, pack):
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
def test_parts_read_as_one_file(tmp_path_factory, pieces, start, count):
    folder = tmp_path_factory.mktemp("joined")
    parts = [written(folder / str(number), piece) for number, piece in enumerate(pieces)]
    whole = b"".join(pieces)
    with open_parts(parts) as file:
        file.seek(start)
        assert file.read(count) == whole[start : start + count]
        assert file.seek(0, io.SEEK_END) == len(whole)
    with SplitFile(parts) as raw:
        assert raw.readall() == whole


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
        "locked zip": lambda: encrypted_zip(FILES, "p"),
        "tar.gz": lambda: gzip.compress(make_tar(), mtime=0),
    }[kind]()
    path = written(tmp_path / "a.archive", data[:cut])
    with pytest.raises(ArchiveError) as caught:
        unpack([path], tmp_path / "out", kind=kind[-3:] if "zip" in kind else "tar", password="p")
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged archive (") and "\n" not in message
    assert message.endswith("; delete it and run the same command again")
    for name, found in tree(tmp_path / "out").items():  # every file that is there is complete
        assert found == FILES[name]


@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar.gz"])
def test_flipped_byte_is_found(tmp_path, kind):
    if kind == "tar.gz":
        data, password = bytearray(gzip.compress(make_tar(), mtime=0)), None
    else:
        data = bytearray(make_zip() if kind == "zip" else encrypted_zip(FILES, "p"))
        password = "p"
    data[30_000] ^= 0x55
    path = written(tmp_path / "a", bytes(data))
    with pytest.raises(ArchiveError, match="damaged archive"):
        unpack([path], tmp_path / "out", kind="tar" if kind == "tar.gz" else "zip", password=password)


def test_missing_middle_part(tmp_path):
    parts = split(tmp_path / "mp3.zip", make_zip(), [20_000, 40_000])
    with pytest.raises(ArchiveError, match=r"mp3\.zip\.001 to mp3\.zip\.003: damaged archive .*; delete these parts"):
        unpack([parts[0], parts[2]], tmp_path / "out", kind="zip")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_damage_is_a_single_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    kind = data.draw(st.sampled_from(["zip", "locked", "tar", "tgz"]))
    small = {"a/b.wav": b"some sound" * 20, "c.txt": b""}
    whole = bytearray(
        {
            "zip": lambda: make_zip(small),
            "locked": lambda: encrypted_zip(small, "p"),
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
def test_unpacked_files_are_not_written_again(tmp_path, kind):
    data = {"zip": make_zip, "tar": make_tar, "locked zip": lambda: encrypted_zip(FILES, "p")}[kind]()
    path, out = written(tmp_path / "a", data), tmp_path / "out"
    unpack([path], out, kind=kind.split()[-1], password="p")
    before = {name: (out / name).stat().st_ino for name in FILES}
    (out / "top.txt").write_bytes(b"hel")  # cut off
    (out / "f/deep/er/three.mp3").unlink()
    unpack([path], out, kind=kind.split()[-1], password="p")
    assert tree(out) == FILES
    after = {name: (out / name).stat().st_ino for name in FILES}
    assert {name for name in FILES if before[name] == after[name]} >= {"0/one - two (live).mp3", "0/ünï code.mp3"}


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    path, out = written(tmp_path / "a.zip", make_zip()), tmp_path / "out"
    for name in FILES:
        written(temporary_path(out / name), b"half of it")
    unpack([path], out, kind="zip")
    assert tree(out) == FILES


def test_a_file_in_the_place_of_a_folder(tmp_path):
    written(tmp_path / "out" / "0", b"")
    path = written(tmp_path / "a.zip", make_zip())
    with pytest.raises(ArchiveError, match="a file is in the place of a folder"):
        unpack([path], tmp_path / "out", kind="zip")


def test_macos_metadata_is_left_out(tmp_path):
    path = written(tmp_path / "a.zip", make_zip({"a.wav": b"1", "__MACOSX/._a.wav": b"2"}))
    assert unpack([path], tmp_path / "out", kind="zip") == [Member("a.wav", 1)]
    assert tree(tmp_path / "out") == {"a.wav": b"1"}
