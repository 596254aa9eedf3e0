"""Hostile archives: paths outside the folder, links, implausible sizes."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from archive_maker import make_tar, make_zip, tree, written
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_encryption import encrypted_zip

from samplecnn.datasets.download.archive_parts import ArchiveError
from samplecnn.datasets.download.archives import safe_path, unpack

BAD_NAMES = ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "c:evil", "..\\evil", "\\evil", "a\\..\\..\\evil", ".."]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "locked zip", "tar"])
def test_paths_outside_the_folder_are_refused(tmp_path, name, kind):
    files = {"good.wav": b"good", name: b"evil"}
    data = {"zip": make_zip, "tar": make_tar, "locked zip": lambda files: encrypted_zip(files, "p")}[kind](files)
    path = written(tmp_path / "in" / "a", data)
    with pytest.raises(ArchiveError, match="points outside the target folder; this archive is not safe to unpack"):
        unpack([path], tmp_path / "in" / "out", kind=kind.split()[-1], password="p")
    assert set(tree(tmp_path)) <= {"in/a", "in/out/good.wav"}
    if "zip" in kind:
        assert set(tree(tmp_path)) == {"in/a"}  # all names are checked before the first file is written


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
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("link/passwd", b"evil")
    path = written(tmp_path / "a.zip", out.getvalue())
    with pytest.raises(ArchiveError, match="'link' is a link"):
        unpack([path], tmp_path / "out", kind="zip")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tars_are_refused(tmp_path, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = kind, "/etc"
        archive.addfile(entry)
    path = written(tmp_path / "a.tar", out.getvalue())
    with pytest.raises(ArchiveError, match="'link' is a link or device"):
        unpack([path], tmp_path / "out", kind="tar")
    assert list((tmp_path / "out").iterdir()) == []


def test_bombs_are_refused(tmp_path, monkeypatch):
    zeros = {"bomb.wav": bytes(8_000_000)}
    monkeypatch.setattr("samplecnn.datasets.download.archives.SLACK", 1_000_000)
    for kind, data in (("zip", make_zip(zeros)), ("tar", gzip.compress(make_tar(zeros)))):
        path = written(tmp_path / f"a.{kind}", data)
        with pytest.raises(ArchiveError, match="not safe to unpack"):
            unpack([path], tmp_path / "out", kind=kind)
        assert tree(tmp_path / "out") == {}


def test_member_larger_than_its_header_states(tmp_path):
    """A zip that states 1,000 bytes for a member which unpacks to 1,000,000."""
    for data, password in (
        (make_zip({"a": bytes(1_000_000)}), None),
        (encrypted_zip({"a": bytes(1_000_000)}, "p"), "p"),
    ):
        lie = data.replace((1_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
        path = written(tmp_path / "a.zip", lie)
        with pytest.raises(ArchiveError, match="damaged"):
            unpack([path], tmp_path / "out", kind="zip", password=password)
        assert not (tmp_path / "out" / "a").exists()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_giant_tar_headers_are_refused_unread(tmp_path, kind, monkeypatch):
    """tarfile would read an extended header of any size into memory."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 200_000_000
    data = gzip.compress(header.tobuf() + bytes(header.size) + make_tar(), 1)
    path = written(tmp_path / "a.tar.gz", data)
    read = []
    real = gzip.GzipFile.read

    def counted(self, size=-1):
        found = real(self, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(ArchiveError, match="a header of 200,000,000 bytes"):
        unpack([path], tmp_path / "out", kind="tar")
    assert sum(read) < 1_000_000 and tree(tmp_path / "out") == {}


def test_sparse_files_in_tars_are_refused(tmp_path):
    header = tarfile.TarInfo("sparse.wav")
    header.type = tarfile.GNUTYPE_SPARSE
    path = written(tmp_path / "a.tar", header.tobuf(tarfile.GNU_FORMAT) + make_tar())
    with pytest.raises(ArchiveError, match=r"sparse\.wav is a sparse file"):
        unpack([path], tmp_path / "out", kind="tar")


def test_bytes_after_the_last_file_of_a_tar_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("samplecnn.datasets.download.archives.SLACK", 1_000_000)
    path = written(tmp_path / "a.tar.gz", gzip.compress(make_tar({"a.wav": b"a"}) + bytes(8_000_000)))
    with pytest.raises(ArchiveError, match="not safe to unpack"):
        unpack([path], tmp_path / "out", kind="tar")


def test_empty_member_name_in_a_zip(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("x")
        archive.writestr(entry, b"nameless")
    data = bytearray(out.getvalue())
    at = data.index(b"PK\x01\x02")  # in the directory: no name, and the one byte of it becomes the comment
    data[at + 28 : at + 30], data[at + 32 : at + 34] = (0).to_bytes(2, "little"), (1).to_bytes(2, "little")
    path = written(tmp_path / "a.zip", bytes(data))
    with pytest.raises(ArchiveError, match="'' is not a file name"):
        unpack([path], tmp_path / "out", kind="zip")
