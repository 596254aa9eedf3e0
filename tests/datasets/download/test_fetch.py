"""Downloads from a local server that sends errors, wrong lengths, web pages and redirects."""

import os
import re
import urllib.request
from pathlib import Path

import pytest
from download_data import BODY, MD5, QUICK, SHA, names_in

from samplecnn.datasets.download import http
from samplecnn.datasets.download.fetch import DownloadError, fetch
from samplecnn.datasets.download.http import Network
from samplecnn.datasets.download.verify import digest
from samplecnn.errors import SampleCNNError, UsageError


def test_complete_file_leaves_no_other_files(server, tmp_path):
    url = server.put("some/where/other-name.bin", BODY)
    path = fetch("mine.bin", [url], tmp_path / "new" / "folder", size=len(BODY), checksum=SHA, network=QUICK)
    assert path == tmp_path / "new" / "folder" / "mine.bin"
    assert path.read_bytes() == BODY
    assert names_in(path.parent) == ["mine.bin"]


@pytest.mark.slow
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
    assert names_in(tmp_path) == []
    good = server.put("good", BODY)
    assert fetch("f", [*urls[:5], good], tmp_path, size=len(BODY), checksum=SHA, network=QUICK).read_bytes() == BODY


def test_temporary_server_error(server, tmp_path):
    url = server.put("f", BODY, statuses=[500, 503])
    assert fetch("f", [url], tmp_path, network=QUICK).read_bytes() == BODY


def test_silent_server_is_given_up(server, tmp_path):
    url = server.put("f", BODY, silent=True)
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch("f", [url], tmp_path, network=Network(timeout=0.1, attempts=2, pause=0.01))
    assert len(server.requests) == 2 and names_in(tmp_path) == []


def test_content_length_too_long(server, tmp_path):
    url = server.put("f", BODY, length=len(BODY) + 1000, ranges=False)
    with pytest.raises(DownloadError, match="broke off"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert not (tmp_path / "f").exists()


def test_content_length_too_short_is_found_by_the_known_size(server, tmp_path):
    url = server.put("f", BODY, length=5000)
    with pytest.raises(DownloadError, match="has 5,000 bytes"):
        fetch("f", [url], tmp_path, size=len(BODY), network=QUICK)


def test_content_length_too_short_is_found_by_the_checksum(server, tmp_path):
    url = server.put("f", BODY, length=5000)
    with pytest.raises(DownloadError, match="checksum"):
        fetch("f", [url], tmp_path, checksum=SHA, network=QUICK)
    assert names_in(tmp_path) == []


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
    ids=["by its content type", "by its first bytes"],
)
def test_web_page_in_place_of_the_file(server, tmp_path, page):
    url = server.put("f", **page)
    with pytest.raises(DownloadError, match="a web page came in place of the file"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert names_in(tmp_path) == []


def test_not_an_archive(server, tmp_path):
    url = server.put("f.zip", b"not a zip at all")
    with pytest.raises(DownloadError, match="what came is not an archive"):
        fetch("f.zip", [url], tmp_path, magic=(b"PK",), network=QUICK)
    url = server.put("f.zip", b"")
    with pytest.raises(DownloadError, match="is empty"):
        fetch("f.zip", [url], tmp_path, magic=(b"PK",), network=QUICK)


def test_content_encoding_is_refused(server, tmp_path):
    url = server.put("f", BODY, encoding="gzip")
    with pytest.raises(DownloadError, match="Content-Encoding gzip"):
        fetch("f", [url], tmp_path, network=QUICK)


def test_redirects(server, tmp_path):
    target = server.put("deep/evil-name.exe", BODY, breaks=1)
    url = server.put("f", b"", redirect=target)
    assert fetch("f", [url], tmp_path, network=QUICK) == tmp_path / "f"
    assert names_in(tmp_path) == ["f"]
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


def test_full_disk_is_a_single_line_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("samplecnn.datasets.download.fetch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SampleCNNError, match=r"still to come, 1,000 bytes are free; free some space") as caught:
        fetch("f", [server.put("f", BODY)], tmp_path, network=QUICK)
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_while_downloading(server, tmp_path):
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


def test_progress_is_shown_in_megabytes(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("samplecnn.system.progress.Progress.LINE_INTERVAL", 0.0)
    fetch("big", [server.put("f", bytes(5_000_000))], tmp_path, network=QUICK)
    assert re.search(r"big ━+╌* [1-5]/5 MB", capsys.readouterr().err)


def test_digest(tmp_path):
    (tmp_path / "f").write_bytes(BODY)
    assert digest(tmp_path / "f", "sha256:") == SHA
    assert digest(tmp_path / "f", "md5:") == MD5


def test_redirect_from_https_to_http_is_refused():
    redirects = http._Redirects()
    request = urllib.request.Request("https://example.org/f")
    with pytest.raises(http.MirrorRefused, match="from https:// to http://"):
        redirects.redirect_request(request, None, 302, "Found", {}, "http://example.org/f")
    for start, target in (("http", "https"), ("https", "https"), ("http", "http")):
        request = urllib.request.Request(f"{start}://example.org/f")
        followed = redirects.redirect_request(request, None, 302, "Found", {}, f"{target}://example.org/g")
        assert followed.full_url == f"{target}://example.org/g"


def test_download_of_unknown_length_leaves_disk_space_free(server, tmp_path, monkeypatch):
    url = server.put("f", bytes(40_000_000), length=-1)
    usage = type("usage", (), {"free": 500_000_000})
    monkeypatch.setattr("samplecnn.datasets.download.fetch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SampleCNNError, match="does not state its size, and only 500 MB are free"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert (tmp_path / "f.part").stat().st_size < 20_000_000


def test_download_of_unknown_length_is_bounded(server, tmp_path, monkeypatch):
    url = server.put("f", bytes(40_000_000), length=-1)
    monkeypatch.setattr("samplecnn.datasets.download.fetch.MAX_UNKNOWN_SIZE", 10_000_000)
    with pytest.raises(DownloadError, match="more than 10 MB came without a stated length"):
        fetch("f", [url], tmp_path, network=QUICK)
    assert names_in(tmp_path) == []
