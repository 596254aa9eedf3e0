"""A server with as much of the S3 protocol as reading takes: objects, ranges, listings, errors; over a folder."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TIME = "2026-11-22T10:15:00.000Z"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    denied = ("secret",)  # buckets

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if bucket in self.denied:
            return self.error(403, "AccessDenied")
        if not (self.root / bucket).is_dir():
            return self.error(404, "NoSuchBucket")
        query = parse_qs(url.query, keep_blank_values=True)
        if not key:
            return self.listing(bucket, query)
        path = self.root / bucket / key
        if not path.is_file():
            return self.error(404, "NoSuchKey")
        content, headers, status = path.read_bytes(), {}, 200
        wanted = self.headers.get("Range")
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[int(first) : int(last or len(content)) + 1], 206
        return self.answer(
            status, content, {**headers, "ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 10:15:00 GMT"}
        )

    def listing(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        most = int(query.get("max-keys", ["1000"])[0])
        folder = self.root / bucket
        keys = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        keys = [key for key in keys if key.startswith(prefix)]
        folders = []
        if delimiter:
            parts = [key[len(prefix) :].split(delimiter) for key in keys]
            folders = sorted({prefix + each[0] + delimiter for each in parts if len(each) > 1})
            keys = [key for key, each in zip(keys, parts, strict=True) if len(each) == 1]
        found = "".join(
            f'<Contents><Key>{escape(key)}</Key><LastModified>{TIME}</LastModified><ETag>"1"</ETag>'
            f"<Size>{(folder / key).stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys[:most]
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders)
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(keys[:most]) + len(folders)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        )
        self.answer(200, text.encode(), {"Content-Type": "application/xml"})

    def error(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        self.answer(status, text.encode(), {"Content-Type": "application/xml"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def serve(root: Path) -> ThreadingHTTPServer:
    """Serves the folders in `root` as buckets, in a thread, until `shutdown`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Buckets", (Handler,), {"root": root}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
