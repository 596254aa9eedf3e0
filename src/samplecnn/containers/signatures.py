"""Identifies files that libsndfile does not decode by their first bytes, with a remedy."""

import re

HEAD = 1024  # bytes examined
CONVERT = "convert it to flac or wav, for example with ffmpeg"
SPHERE = "decompress it with `sph2pipe -f wav`"
SOUND = (CONVERT, SPHERE)
UNPACK = "unpack it first"
AGAIN = "download it again"
LEAVE = "leave it out"

# Offset, bytes at that offset, what the file is, the remedy.
SIGNATURES = (
    (4, b"ftyp", "MPEG-4 audio or video (m4a, mp4, 3gp, mov)", CONVERT),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file", CONVERT),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (wma, asf)", CONVERT),
    (0, b"#!AMR", "AMR speech", CONVERT),
    (0, b"ADIF", "AAC", CONVERT),
    (0, b"ajkg", "Shorten-compressed sound", CONVERT),
    (0, b"MAC ", "Monkey's Audio (ape)", CONVERT),
    (0, b"wvpk", "WavPack", CONVERT),
    (0, b"MPCK", "Musepack", CONVERT),
    (0, b"MP+", "Musepack", CONVERT),
    (0, b"TTA1", "True Audio (tta)", CONVERT),
    (0, b"DSD ", "DSD (dsf)", CONVERT),
    (0, b"FRM8", "DSD (dff)", CONVERT),
    (0, b".RMF", "RealMedia", CONVERT),
    (0, b".ra\xfd", "RealAudio", CONVERT),
    (0, b"FLV\x01", "Flash video", CONVERT),
    (0, b"\x0b\x77", "AC-3", CONVERT),
    (0, b"\x7f\xfe\x80\x01", "DTS", CONVERT),
    (8, b"AVI ", "a video (avi)", CONVERT),
    (0, b"MThd", "notes (MIDI)", "leave it out, or render it to wav"),
    (0, b"\x1f\x8b", "a compressed file (gzip)", UNPACK),
    (0, b"BZh", "a compressed file (bzip2)", UNPACK),
    (0, b"\xfd7zXZ\0", "a compressed file (xz)", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\xff\xd8\xff", "a picture (jpeg)", LEAVE),
    (0, b"\x89PNG\r\n", "a picture (png)", LEAVE),
    (0, b"GIF8", "a picture (gif)", LEAVE),
    (8, b"WEBP", "a picture (webp)", LEAVE),
    (0, b"%PDF-", "a document (pdf)", LEAVE),
    (0, b"\0\5\x16\7", "what macOS keeps about a file (._NAME), without its sound", LEAVE),
    (0, b"version https://git-lfs", "a pointer of Git LFS, without the file itself", "run `git lfs pull`"),
)
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"OggS", b"fLaC", b"ID3", b"caff", b".snd")  # of what libsndfile decodes
OGG_CODECS = ((b"Speex   ", "Speex"), (b"\x80theora", "Theora video"), (b"CELT    ", "CELT"))


def explanation(head: bytes) -> str:
    """What a file with the first `HEAD` bytes `head` is, and the remedy; "" if unknown.

    Example:
        >>> explanation(b"wvpk" + bytes(100))
        'WavPack, which is not decoded here; convert it to flac or wav, for example with ffmpeg'
    """
    known = _known(head)
    if known is None:
        return ""
    name, remedy = known
    return f"{name}, which is not decoded here; {remedy}" if remedy in SOUND else f"not audio but {name}; {remedy}"


def is_other_sound(head: bytes) -> bool:
    """Whether a file is known to be sound, or a video, of a format that libsndfile does not decode but others may."""
    known = _known(head)
    return known is not None and known[1] == CONVERT


def is_not_sound(head: bytes) -> bool:
    """Whether a file is known to be something else than sound.

    Example:
        >>> is_not_sound(b"%PDF-1.4"), is_not_sound(b"wvpk"), is_not_sound(b"")
        (True, False, False)
    """
    known = _known(head)
    return known is not None and known[1] not in SOUND


def is_transport_stream(head: bytes) -> bool:
    """Whether a file is an MPEG transport stream: packets of 188 bytes that begin with G, or of 192 with a time first.

    Example:
        >>> is_transport_stream((b"G" + bytes(187)) * 5), is_transport_stream(b"Get" + bytes(900))
        (True, False)
    """
    return any(head[first::size][:5] == b"GGGGG" for first, size in ((0, 188), (4, 192)))


def _known(head: bytes) -> tuple[str, str] | None:
    if is_transport_stream(head):
        return "an MPEG transport stream (ts)", CONVERT
    for offset, content, name, remedy in SIGNATURES:
        if head.startswith(content, offset):
            return name, remedy
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC", CONVERT
    if head.startswith(b"NIST_1A"):
        coding = re.search(rb"sample_coding -s\d+ (\S+)", head)
        return f"NIST SPHERE with the coding {coding[1].decode('latin-1') if coding else 'unknown'}", SPHERE
    if head.startswith(b"OggS"):
        return next(((f"Ogg with {name}", CONVERT) for codec, name in OGG_CODECS if codec in head), None)
    if head.startswith((b"RIFF", b"RIFX")) and head[8:12] == b"WAVE":
        at = head.find(b"fmt ")
        tag = head[at + 8 : at + 10]
        if at > 0 and len(tag) == 2:
            number = int.from_bytes(tag, "little" if head[3:4] == b"F" else "big")
            return f"a wav file with the codec 0x{number:04X}", CONVERT
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", head, re.IGNORECASE):
        return "a web page", AGAIN
    if len(head) > 1 and not head.strip(b"\0"):
        return "zeros, as in a file that was not written to its end", "download or copy it again"
    return ("text", f"{AGAIN} or {LEAVE}") if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether a file begins as text in UTF-8, whose last character may be cut off, and not as sound does."""
    text = head.decode("utf-8", "ignore")
    return (
        not head.startswith(MAGIC)
        and len(text.encode()) > max(len(head) - 4, 0)
        and all(char.isprintable() or char in "\t\n\r\f\ufeff" for char in text)
    )
