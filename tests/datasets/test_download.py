"""Downloads from a server on this machine that breaks off, forgets, changes its mind and lies."""

import hashlib
import importlib.util
import os
import re
import sys
import time
from pathlib import Path

import pytest

from samplecnn.datasets.download.http import DownloadError, Network, digest, fetch
from samplecnn.errors import SampleCNNError, UsageError

QUICK = Network(timeout=2.0, attempts=3, pause=0.01)
BODY = bytes(range(256)) * 4000 + b"the end"  # 1.02 MB
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


def beside(name):
    """A module of this folder: there are no test packages to import it from."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


server = beside("local_server").server


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_leaves_nothing_beside_it(server, tmp_path):
    url = server.put("some/where/other-name.bin", BODY)
    path = fetch("mine.bin", [url], tmp_path / "new" / "folder", size=len(BODY), checksum=SHA, network=QUICK)
    assert path == tmp_path / "new" / "folder" / "mine.bin"
    assert path.read_bytes() == BODY
    assert only(path.parent) == ["mine.bin"]


def test_broken_off_is_resumed_where_it_stopped(server, tmp_path):
    url = server.put("f", BODY, breaks=3)
    assert fetch("f", [url], tmp_path, checksum=MD5, network=QUICK).read_bytes() == BODY
    assert server.ranges() == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert [headers.get("If-Range") for _, headers in server.requests[1:]] == ['"v1"'] * 3


def test_many_breaks_are_no_failure_while_bytes_come(server, tmp_path):
    url = server.put("f", BODY, breaks=30, break_after=30_000)
    assert fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=2, pause=0.001)).read_bytes() == BODY


def test_next_run_goes_on_from_the_part(server, tmp_path):
    url = server.put("f", BODY, breaks=99, break_after=400_000)
    server.files["f"].breaks = 1
    server.files["f"].statuses = []
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    assert (tmp_path / "f.part").stat().st_size == 400_000
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == "bytes=400000-"


def test_server_without_ranges_starts_again(server, tmp_path):
    url = server.put("f", BODY, breaks=1, ranges=False)
    assert fetch("f", [url], tmp_path, checksum=SHA, network=QUICK).read_bytes() == BODY
    assert only(tmp_path) == ["f"]


def test_server_without_ranges_that_always_breaks_ends(server, tmp_path):
    url = server.put("f", BODY, breaks=99, ranges=False)
    with pytest.raises(DownloadError, match=r"broke off at 300,000 bytes of 1,024,007 bytes, 3 times in a row"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert len(server.requests) == 3


@pytest.mark.parametrize("honours", [True, False], ids=["If-Range kept", "If-Range ignored"])
def test_file_changed_between_the_halves(server, tmp_path, honours):
    url = server.put("f", b"old" * 300_000, breaks=1)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    server.put("f", BODY, etag='"v2"', honours_if_range=honours)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_file_changed_and_became_shorter_than_the_part(server, tmp_path):
    url = server.put("f", BODY, breaks=1, break_after=900_000, honours_if_range=False)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    server.put("f", BODY[:5000], etag='"v2"', honours_if_range=False)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY[:5000]


def test_without_etag_the_size_decides(server, tmp_path):
    url = server.put("f", BODY, breaks=1, etag=None)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges() == [None, "bytes=300000-"]
    assert "If-Range" not in server.requests[1][1]


def test_without_etag_another_size_starts_again(server, tmp_path):
    url = server.put("f", b"x" * 700_000, breaks=1, etag=None)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    server.put("f", BODY, etag=None)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_weak_etag_is_not_trusted_for_a_part(server, tmp_path):
    url = server.put("f", BODY, breaks=1, etag='W/"v1"')
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert "If-Range" not in server.requests[1][1]


def test_answer_from_another_place_starts_again(server, tmp_path):
    url = server.put("f", BODY, breaks=1, shift=7)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_part_of_unknown_origin_is_used_only_where_it_can_be_checked(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(BODY[:1000])  # as a user would rename an unfinished file
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-"]
    (tmp_path / "g.part").write_bytes(b"something else")
    assert fetch("g", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[1:] == [None]


def test_wrong_bytes_in_the_part_are_found_and_all_is_fetched_anew(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(b"?" * 1000)
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-", None]


def test_whole_part_of_a_killed_run_needs_no_new_bytes(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(BODY)
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.requests == []


def test_what_a_run_left_that_was_killed_taking_notes_goes(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / ".f.part.json.4711.part").write_text('{"url"')
    (tmp_path / ".g.part.json.4711.part").write_text("of another file")
    fetch("f", [url], tmp_path, network=QUICK)
    assert only(tmp_path) == [".g.part.json.4711.part", "f"]


def test_a_second_mirror_continues_what_the_first_began(server, tmp_path):
    first = server.put("a/f", BODY, breaks=1)
    server.files["a/f"].statuses = []
    second = server.put("b/f", BODY, etag='"another"')
    with pytest.raises(DownloadError):
        fetch("f", [first], tmp_path, size=len(BODY), checksum=SHA, network=Network(timeout=2, attempts=1))
    assert fetch("f", [second], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == "bytes=300000-"


def test_a_second_mirror_starts_again_where_nothing_could_tell_a_mix(server, tmp_path):
    first = server.put("a/f", b"z" * len(BODY), breaks=1)
    second = server.put("b/f", BODY)
    with pytest.raises(DownloadError):
        fetch("f", [first], tmp_path, network=Network(timeout=2, attempts=1))
    assert fetch("f", [second], tmp_path, network=QUICK).read_bytes() == BODY


def test_mirrors_in_order_with_every_reason(server, tmp_path):
    urls = [
        server.base + "/none",
        server.put("gone", b"", statuses=[410]),
        server.put("ill", b"", statuses=[500, 503, 500, 500]),
        server.put("small", BODY[:-1]),
        server.put("other", BODY[:-1] + b"?"),
        "http://127.0.0.1:9/closed",
        "ftp://127.0.0.1/f",
    ]
    with pytest.raises(DownloadError) as caught:
        fetch("f", urls, tmp_path, size=len(BODY), checksum=SHA, network=QUICK)
    reasons = dict(caught.value.reasons)
    assert list(reasons) == urls
    assert reasons[urls[0]] == "HTTP 404 Not Found"
    assert reasons[urls[1]] == "HTTP 410 Gone"
    assert reasons[urls[2]] == "HTTP 500 Internal Server Error, 3 times in a row"
    assert reasons[urls[3]] == "the file there has 1,024,006 bytes, the published one 1,024,007"
    assert reasons[urls[4]] == "the sha256 checksum is not the published one"
    assert "refused" in reasons[urls[5]]
    assert "only http" in reasons[urls[6]]
    assert only(tmp_path) == []
    good = server.put("good", BODY)
    assert fetch("f", [*urls[:5], good], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY


def test_server_error_that_passes(server, tmp_path):
    url = server.put("f", BODY, statuses=[500, 503])
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_silent_server_is_given_up(server, tmp_path):
    url = server.put("f", BODY, stall=1.0)
    began = time.monotonic()
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch("f", [url], tmp_path, network=Network(timeout=0.1, attempts=2, pause=0.01))
    assert time.monotonic() - began < 1.0


def test_content_length_too_long(server, tmp_path):
    url = server.put("f", BODY, length=len(BODY) + 1000, ranges=False)
    with pytest.raises(DownloadError, match="broke off"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert not (tmp_path / "f").exists()


def test_content_length_too_short_is_told_by_the_known_size(server, tmp_path):
    url = server.put("f", BODY, length=5000)
    with pytest.raises(DownloadError, match="has 5,000 bytes"):
        fetch("f", [url], tmp_path, size=len(BODY), network=QUICK)


def test_content_length_too_short_is_told_by_the_checksum(server, tmp_path):
    url = server.put("f", BODY, length=5000)
    with pytest.raises(DownloadError, match="checksum"):
        fetch("f", [url], tmp_path, checksum=SHA, network=QUICK)
    assert only(tmp_path) == []


def test_no_content_length(server, tmp_path):
    url = server.put("f", BODY, length=-1)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    url = server.put("f", BODY, length=-1, breaks=1)
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY


@pytest.mark.parametrize(
    "page",
    [
        {"body": b"<html><body>Virus scan warning</body></html>", "kind": "text/html; charset=utf-8"},
        {"body": b"\n <!DOCTYPE html><html>quota</html>", "kind": "application/zip"},
    ],
    ids=["told by its type", "told by its first bytes"],
)
def test_web_page_in_place_of_the_file(server, tmp_path, page):
    url = server.put("f", **page)
    with pytest.raises(DownloadError, match="a web page came in place of the file"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert only(tmp_path) == []


def test_web_page_does_not_spoil_a_part(server, tmp_path):
    url = server.put("f", BODY, breaks=1)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    others = [server.put("page", b"<html>", kind="text/html"), server.put("old", b"<html>", ranges=False)]
    with pytest.raises(DownloadError):
        fetch("f", others, tmp_path, size=len(BODY), network=QUICK)
    assert (tmp_path / "f.part").read_bytes() == BODY[:300_000]


def test_not_an_archive(server, tmp_path):
    url = server.put("f.zip", b"not a zip at all")
    with pytest.raises(DownloadError, match="what came is not an archive"):
        fetch("f.zip", [url], tmp_path, magic=(b"PK",), network=QUICK)
    url = server.put("f.zip", b"")
    with pytest.raises(DownloadError, match="is empty"):
        fetch("f.zip", [url], tmp_path, magic=(b"PK",), network=QUICK)


def test_packed_on_the_way_is_refused(server, tmp_path):
    url = server.put("f", BODY, encoding="gzip")
    with pytest.raises(DownloadError, match="Content-Encoding gzip"):
        fetch("f", [url], tmp_path, network=QUICK)


def test_redirects(server, tmp_path):
    target = server.put("deep/evil-name.exe", BODY, breaks=1)
    url = server.put("f", b"", redirect=target)
    assert fetch("f", [url], tmp_path, network=QUICK) == tmp_path / "f"
    assert only(tmp_path) == ["f"]
    assert server.ranges()[-1] == "bytes=300000-"  # the redirect carries the range along
    secret = tmp_path / "secret"
    secret.write_text("mine")
    for elsewhere in (secret.as_uri(), "ftp://127.0.0.1/f", "data:text/plain,hello"):
        url = server.put("g", b"", redirect=elsewhere)
        with pytest.raises(DownloadError, match=r"only http|HTTP 302"):
            fetch("g", [url], tmp_path, network=QUICK)
    url = server.put("loop", b"", redirect=server.base + "/loop")
    with pytest.raises(DownloadError, match="302"):
        fetch("loop", [url], tmp_path, network=QUICK)


@pytest.mark.parametrize("name", ["../f", "a/f", "", "..", "."])
def test_only_plain_names(server, tmp_path, name):
    with pytest.raises(UsageError, match="plain file name"):
        fetch(name, [server.put("f", BODY)], tmp_path, network=QUICK)
    assert server.requests == []


def test_full_disk_is_one_line_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("samplecnn.datasets.download.http.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SampleCNNError, match=r"still to come, 1,000 bytes are free; free some space") as caught:
        fetch("f", [server.put("f", BODY)], tmp_path, network=QUICK)
    assert "\n" not in str(caught.value)
    assert only(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_that_fills_up_on_the_way(server, tmp_path):
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(SampleCNNError, match="the disk is full; free some space") as caught:
        fetch("f", [server.put("f", BODY)], tmp_path, network=QUICK)
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SampleCNNError, match="check the folder and its permissions"):
        fetch("f", [server.put("f", BODY)], tmp_path / "file", network=QUICK)
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(SampleCNNError, match="Permission denied"):
            fetch("f", [server.put("f", BODY)], tmp_path / "locked", network=QUICK)


def test_interrupt_leaves_what_came(server, tmp_path, monkeypatch):
    url = server.put("f", BODY)
    from samplecnn.datasets.download import http

    advance = http._advance

    def interrupt(progress, count):
        advance(progress, count)
        if count > 500_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(http, "_advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("f", [url], tmp_path, network=QUICK)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    left = (tmp_path / "f.part").read_bytes()
    assert len(left) > 500_000 and BODY.startswith(left)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == f"bytes={len(left)}-"


def test_progress_is_told_in_megabytes(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("samplecnn.system.progress.Progress.LINE_EVERY", 0.0)
    fetch("big", [server.put("f", bytes(5_000_000))], tmp_path, network=QUICK)
    assert re.search(r"big ━+╌* [1-5]/5 MB", capsys.readouterr().err)


def test_digest(tmp_path):
    (tmp_path / "f").write_bytes(BODY)
    assert digest(tmp_path / "f", "sha256:") == SHA
    assert digest(tmp_path / "f", "md5:") == MD5
