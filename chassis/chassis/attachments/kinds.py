"""What a file is, by its first bytes. What its name says is compared with that, and what its sender says is not asked.

A file that says by its name to be an image, a document or a recording must begin like one. What a browser could run (HTML,
SVG, XML) is kept, and is called application/octet-stream: nobody is to open it where it came from.
"""

import re
from dataclasses import dataclass

from chassis.attachments.names import ending_of
from chassis.errors import Invalid
from chassis.settings import Settings

HEAD = 4096
"""Bytes that are looked at."""
UNKNOWN = "application/octet-stream"

PNG, JPEG, GIF, WEBP, BMP, TIFF, HEIF = (
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff", "heic")
)
PDF, ZIP, OLE, RTF = "application/pdf", "application/zip", "application/x-ole-storage", "application/rtf"
GZIP, SEVEN, RAR = "application/gzip", "application/x-7z-compressed", "application/vnd.rar"
MP4, WEBM, AVI = "video/mp4", "video/webm", "video/x-msvideo"
MP3, WAV, OGG, FLAC, AMR = "audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/amr"
ACTIVE = "text/html"
"""What a browser runs: HTML, SVG, XML."""
TEXT = "text/plain"
WINDOWS, ELF, MACH, JAVA = (
    f"application/{kind}" for kind in ("x-msdownload", "x-executable", "x-mach-binary", "java-vm")
)

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", PNG), (0, b"\xff\xd8\xff", JPEG), (0, b"GIF87a", GIF), (0, b"GIF89a", GIF),
    (0, b"II*\0", TIFF), (0, b"MM\0*", TIFF), (0, b"%PDF-", PDF),
    (0, b"PK\x03\x04", ZIP), (0, b"PK\x05\x06", ZIP), (0, b"PK\x07\x08", ZIP),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE), (0, b"{\\rtf", RTF), (0, b"\x1f\x8b\x08", GZIP),
    (0, b"7z\xbc\xaf\x27\x1c", SEVEN), (0, b"Rar!\x1a\x07", RAR), (0, b"\x1a\x45\xdf\xa3", WEBM),
    (0, b"ID3", MP3), (0, b"OggS", OGG), (0, b"fLaC", FLAC), (0, b"#!AMR", AMR),
    (0, b"\x7fELF", ELF), (0, b"\xcf\xfa\xed\xfe", MACH), (0, b"\xce\xfa\xed\xfe", MACH), (0, b"\xca\xfe\xba\xbe", JAVA),
    (0, b"MZ", WINDOWS), (0, b"BM", BMP),
)  # fmt: skip
_RIFF = {b"WEBP": WEBP, b"WAVE": WAV, b"AVI ": AVI}
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif"})
# As WHATWG's MIME Sniffing Standard finds HTML, and what else a browser runs, wherever in the beginning it stands.
_RUNS = re.compile(
    rb"<(!doctype|html|head|body|script|iframe|svg|math|img|style|title|table|object|embed|link|meta|a|div|p|h1|br|font|b|\?xml|!--)"
    rb"[\s/>!\[-]",
    re.IGNORECASE,
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_BY_ENDING: dict[str, tuple[str, tuple[str, ...]]] = {
    ".png": (PNG, (PNG,)), ".jpg": (JPEG, (JPEG,)), ".jpeg": (JPEG, (JPEG,)), ".gif": (GIF, (GIF,)),
    ".webp": (WEBP, (WEBP,)), ".bmp": (BMP, (BMP,)), ".tif": (TIFF, (TIFF,)), ".tiff": (TIFF, (TIFF,)),
    ".heic": (HEIF, (HEIF,)), ".heif": (HEIF, (HEIF,)), ".pdf": (PDF, (PDF,)), ".rtf": (RTF, (RTF,)),
    ".zip": (ZIP, (ZIP,)), ".gz": (GZIP, (GZIP,)), ".tgz": (GZIP, (GZIP,)), ".7z": (SEVEN, (SEVEN,)), ".rar": (RAR, (RAR,)),
    ".mp4": (MP4, (MP4,)), ".m4a": ("audio/mp4", (MP4,)), ".mov": ("video/quicktime", (MP4,)), ".webm": (WEBM, (WEBM,)),
    ".mkv": ("video/matroska", (WEBM,)), ".avi": (AVI, (AVI,)), ".mp3": (MP3, (MP3,)), ".wav": (WAV, (WAV,)),
    ".ogg": (OGG, (OGG,)), ".flac": (FLAC, (FLAC,)), ".amr": (AMR, (AMR,)),
    **{
        ending: (kind, (ZIP,))
        for ending, kind in {
            ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            ".odt": "application/vnd.oasis.opendocument.text",
            ".ods": "application/vnd.oasis.opendocument.spreadsheet",
            ".odp": "application/vnd.oasis.opendocument.presentation",
        }.items()
    },
    # Many a program writes a page or a table of text and calls it so; it is kept, and not called so.
    ".doc": ("application/msword", (OLE, RTF, ACTIVE, TEXT)), ".xls": ("application/vnd.ms-excel", (OLE, ZIP, ACTIVE, TEXT)),
    ".ppt": ("application/vnd.ms-powerpoint", (OLE,)), ".wps": ("application/vnd.ms-works", (OLE, ZIP)),
    ".et": ("application/vnd.ms-excel", (OLE, ZIP)), ".dps": ("application/vnd.ms-powerpoint", (OLE, ZIP)),
    ".msg": ("application/vnd.ms-outlook", (OLE,)),
}  # fmt: skip
"""What a name promises, and how such a file may begin."""
_TEXTS = {
    ".txt": TEXT,
    ".log": TEXT,
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
}


def sniffed(head: bytes) -> str:
    """The content type that the first bytes tell; empty for what they do not."""
    for start, magic, kind in _MAGIC:
        if head.startswith(magic, start):
            if kind is BMP and head[6:10] != b"\0\0\0\0":  # two letters alone begin many a text
                continue
            if kind is WINDOWS and not _CONTROLS.search(head[:64]):
                continue
            return kind
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return HEIF if head[8:12] in _HEIF else MP4
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"):
        return MP3
    return _text(head)


def _text(head: bytes) -> str:
    plain = head
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        plain = head.decode("utf-16", "ignore").encode()
    elif head.count(b"\0") > len(head) // 3:  # wide characters without their mark
        plain = head.replace(b"\0", b"")
    if _RUNS.search(plain):
        return ACTIVE
    return "" if not plain or _CONTROLS.search(plain) else TEXT


def kind_of(filename: str, head: bytes) -> str:
    """The content type under which a file is kept. Raises Invalid (FILE_TYPE_MISMATCH) for a name that promises another."""
    found, ending = sniffed(head), ending_of(filename)
    promised = _BY_ENDING.get(ending)
    if promised is not None:
        kind, beginnings = promised
        if found not in beginnings:
            raise Invalid(
                "filename",
                f"'{filename[:80]}' is no {kind}: it is {found or 'something else'} by its content",
                reason="FILE_TYPE_MISMATCH",
            )
        return UNKNOWN if found in (ACTIVE, TEXT) else kind
    if found == TEXT:
        return _TEXTS.get(ending, UNKNOWN)
    return UNKNOWN if found in ("", ACTIVE, OLE) else found


@dataclass(frozen=True)
class FileTypes:
    """What is taken, as the operator says."""

    allowed: frozenset[str]
    forbidden: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> "FileTypes":
        """Those of the settings."""
        return cls(_named(settings.allowed_file_types), _named(settings.forbidden_file_types))

    def check_name(self, filename: str) -> None:
        """Raises Invalid (FILE_TYPE_FORBIDDEN) for what is known by its name alone."""
        if ending_of(filename) in self.forbidden:
            raise _forbidden(filename)

    def check(self, filename: str, head: bytes) -> str:
        """The content type under which a file is kept. Raises Invalid (FILE_TYPE_FORBIDDEN, FILE_TYPE_MISMATCH)."""
        self.check_name(filename)
        found = sniffed(head)
        if found in self.forbidden:
            # The ending may be one that is taken, as that of a program that calls itself a letter.
            raise _forbidden(filename, f"{found} by its content, which")
        kind = kind_of(filename, head)
        ending, family = ending_of(filename), kind.partition("/")[0] + "/*"
        names = {ending, kind, family}
        if names & self.forbidden or (self.allowed and not names & self.allowed):
            raise _forbidden(filename)
        return kind


def _named(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _forbidden(filename: str, what: str = "of a kind that") -> Invalid:
    return Invalid("filename", f"'{filename[:80]}' is {what} is not taken here", reason="FILE_TYPE_FORBIDDEN")
