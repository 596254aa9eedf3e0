"""Downloads that break off, are interrupted, or whose file changes at the server, are resumed or restarted."""

import pytest
from download_data import BODY, MD5, QUICK, SHA, names_in

from samplecnn.datasets.download.byte_progress import ByteProgress
from samplecnn.datasets.download.fetch import DownloadError, fetch
from samplecnn.datasets.download.http import Network


def test_broken_connection_is_resumed_where_it_stopped(server, tmp_path):
    url = server.put("f", BODY, breaks=3)
    assert fetch("f", [url], tmp_path, checksum=MD5, network=QUICK).read_bytes() == BODY
    assert server.ranges() == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert [headers.get("If-Range") for _, headers in server.requests[1:]] == ['"v1"'] * 3


@pytest.mark.slow
def test_breaks_that_bring_new_bytes_are_not_counted_as_failures(server, tmp_path):
    url = server.put("f", BODY, breaks=30, break_after=30_000)
    assert fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=2, pause=0.001)).read_bytes() == BODY


def test_next_run_resumes_the_part(server, tmp_path):
    url = server.put("f", BODY, breaks=99, break_after=400_000)
    server.files["f"].breaks = 1
    server.files["f"].statuses = []
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    assert (tmp_path / "f.part").stat().st_size == 400_000
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == "bytes=400000-"


def test_server_without_ranges_restarts(server, tmp_path):
    url = server.put("f", BODY, breaks=1, ranges=False)
    assert fetch("f", [url], tmp_path, checksum=SHA, network=QUICK).read_bytes() == BODY
    assert names_in(tmp_path) == ["f"]


def test_server_without_ranges_that_always_breaks_is_given_up(server, tmp_path):
    url = server.put("f", BODY, breaks=99, ranges=False)
    with pytest.raises(DownloadError, match=r"broke off at 300,000 bytes of 1,024,007 bytes, 3 times in a row"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert len(server.requests) == 3


@pytest.mark.parametrize("honours", [True, False], ids=["If-Range honoured", "If-Range ignored"])
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


def test_without_etag_another_size_restarts(server, tmp_path):
    url = server.put("f", b"x" * 700_000, breaks=1, etag=None)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    server.put("f", BODY, etag=None)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_weak_etag_is_not_trusted_for_a_part(server, tmp_path):
    url = server.put("f", BODY, breaks=1, etag='W/"v1"')
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert "If-Range" not in server.requests[1][1]


def test_range_with_another_start_restarts(server, tmp_path):
    url = server.put("f", BODY, breaks=1, shift=7)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_part_of_unknown_origin_is_used_only_where_it_can_be_verified(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(BODY[:1000])  # as a user would rename an unfinished file
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-"]
    (tmp_path / "g.part").write_bytes(b"something else")
    assert fetch("g", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[1:] == [None]


def test_wrong_bytes_in_the_part_are_found_and_the_file_is_downloaded_again(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(b"?" * 1000)
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-", None]


def test_complete_part_of_a_killed_run_needs_no_request(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / "f.part").write_bytes(BODY)
    assert fetch("f", [url], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.requests == []


def test_temporary_records_of_a_killed_run_are_removed(server, tmp_path):
    url = server.put("f", BODY)
    (tmp_path / ".f.part.json.4711.part").write_text('{"url"')
    (tmp_path / ".g.part.json.4711.part").write_text("of another file")
    fetch("f", [url], tmp_path, network=QUICK)
    assert names_in(tmp_path) == [".g.part.json.4711.part", "f"]


def test_second_mirror_continues_what_can_be_verified(server, tmp_path):
    first = server.put("a/f", BODY, breaks=1)
    server.files["a/f"].statuses = []
    second = server.put("b/f", BODY, etag='"another"')
    with pytest.raises(DownloadError):
        fetch("f", [first], tmp_path, size=len(BODY), checksum=SHA, network=Network(timeout=2, attempts=1))
    assert fetch("f", [second], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == "bytes=300000-"


def test_second_mirror_restarts_what_cannot_be_verified(server, tmp_path):
    first = server.put("a/f", b"z" * len(BODY), breaks=1)
    second = server.put("b/f", BODY)
    with pytest.raises(DownloadError):
        fetch("f", [first], tmp_path, network=Network(timeout=2, attempts=1))
    assert fetch("f", [second], tmp_path, network=QUICK).read_bytes() == BODY


def test_web_page_does_not_replace_a_part(server, tmp_path):
    url = server.put("f", BODY, breaks=1)
    with pytest.raises(DownloadError):
        fetch("f", [url], tmp_path, network=Network(timeout=2, attempts=1))
    others = [server.put("page", b"<html>", kind="text/html"), server.put("old", b"<html>", ranges=False)]
    with pytest.raises(DownloadError):
        fetch("f", others, tmp_path, size=len(BODY), network=QUICK)
    assert (tmp_path / "f.part").read_bytes() == BODY[:300_000]


def test_interrupt_keeps_what_was_received(server, tmp_path, monkeypatch):
    url = server.put("f", BODY)
    move_to = ByteProgress.move_to

    def interrupt(progress, count):
        move_to(progress, count)
        if count > 500_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(ByteProgress, "move_to", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("f", [url], tmp_path, network=QUICK)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    left = (tmp_path / "f.part").read_bytes()
    assert len(left) > 500_000 and BODY.startswith(left)
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY
    assert server.ranges()[-1] == f"bytes={len(left)}-"
