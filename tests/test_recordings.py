"""The search for recordings: what it finds, in which order, and its notes on what it skips."""

import os
import socket
from pathlib import Path

import pytest

from samplecnn.datasets import open_dataset
from samplecnn.errors import UsageError
from samplecnn.recordings import Scan
from samplecnn.tagging.find import find_files


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound")


def found(root: Path, scan: Scan | None = None) -> list[str]:
    return [os.path.relpath(path, root) for path in (scan or Scan()).recordings(root)]


def test_files_by_name_and_then_folders(tmp_path):
    make(tmp_path, "b/2.wav", "b/10.wav", "b/a/1.FLAC", "a.mp3", "c.ogg", "b.wav")
    assert found(tmp_path) == ["a.mp3", "b.wav", "c.ogg", "b/10.wav", "b/2.wav", "b/a/1.FLAC"]


def test_links_are_followed_and_each_folder_is_searched_once(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    make(root, "z/1.wav", "a/2.wav")
    make(store, "deep/3.wav", "4.wav")
    (root / "b-link.wav").symlink_to(store / "4.wav")
    (root / "a/loop").symlink_to(root)
    (root / "a/same").symlink_to(root / "z")  # which also has a real path in the folder
    (root / "store").symlink_to(store)
    (store / "up").symlink_to(root)
    (store / "again").symlink_to(store / "deep")
    (root / "twice").symlink_to(store)
    assert found(root) == ["b-link.wav", "a/2.wav", "z/1.wav", "store/4.wav", "store/deep/3.wav"]


def test_skipped_files_are_counted(tmp_path, without_av):
    make(tmp_path, "1.wav", ".2.wav", ".git/3.wav", "4.txt", "5.TXT", "6", "b/7.m4a", "8.wma", "c/.9")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.wav").symlink_to(tmp_path / "self.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.wav"))
    scan = Scan()
    assert found(tmp_path, scan) == ["1.wav"]
    assert scan.notes() == [
        "2 recordings are in formats that are not supported and skipped (1 .m4a, 1 .wma): "
        f"{tmp_path}/8.wma, {tmp_path}/b/7.m4a; convert to flac or wav, for example with ffmpeg, "
        "or pip install 'samplecnn[av]'",
        "2 links lead nowhere and are skipped",
        "2 FIFOs, sockets or devices are skipped",
        "3 hidden files or folders are skipped",
        "3 files are not recordings by their suffix and are skipped: 2 .txt, 1 without suffix",
    ]


def test_folders_that_cannot_be_read_are_noted(tmp_path, monkeypatch):
    make(tmp_path, "a/1.wav", "locked/2.wav", "z/3.wav")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scan = Scan()
    assert found(tmp_path, scan) == ["a/1.wav", "z/3.wav"]
    assert scan.notes() == [f"1 folder cannot be read and skipped: {tmp_path}/locked (Permission denied)"]


def test_folders_nested_beyond_the_longest_path(tmp_path):
    make(tmp_path, "1.wav")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # 250 characters each, of 4,096 that a path may have
        os.mkdir("f" * 250, dir_fd=here)
        below = os.open("f" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    scan = Scan()
    assert found(tmp_path, scan) == ["1.wav"]
    assert "cannot be read" in scan.notes()[0]


def test_tag_and_build_find_the_same_recordings_with_the_same_notes(tmp_path, without_av):
    root = tmp_path / "set"
    make(root, "a/1.wav", "a/in/2.flac", "b/3.mp3", "b/4.m4a", "a/.5.wav", "b/x.txt")
    make(tmp_path / "store", "6.ogg")
    (root / "b/store").symlink_to(tmp_path / "store")
    os.mkfifo(root / "a/pipe.wav")
    table = open_dataset(str(root), tmp_path / "data").table()
    tagged = find_files([root])
    assert sorted(str(clip.path) for clip in table.clips) == sorted(tagged.files)
    assert len(tagged.notes) == 4 and [note for note in table.notes if note in tagged.notes] == tagged.notes


def test_a_folder_with_unsupported_formats_only_is_refused(tmp_path, without_av):
    make(tmp_path, "a.m4a", "b.m4a")
    with pytest.raises(UsageError, match=r"no recordings found.*2 recordings are in formats.*convert to flac or wav"):
        find_files([tmp_path])
