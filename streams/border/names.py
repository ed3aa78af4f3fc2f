"""Names of files that come from outside, made safe for a disk and for an HTTP header.

Rule: pure. The result names one file in one folder, on Linux, macOS and Windows alike.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

LIMIT_BYTES = 255
"""The longest name that common file systems take, in UTF-8."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.I)
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f-\x9f]')


def file_name(text: str, *, default: str = "file") -> str:
    """Return the last part of a path as a safe name; `default` when nothing is left of it."""
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs", "Zl", "Zp", "Cn"))
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    name = _FORBIDDEN.sub("_", last).strip(" ").rstrip(". ").lstrip(" ")
    if not name.strip("."):
        return default
    if _RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")):
        name = f"_{name}"
    return _shortened(name)


def content_disposition(name: str, kind: str = "attachment") -> str:
    """Return the header's value by RFC 6266; `kind` is attachment or inline."""
    safe = file_name(name)
    plain = re.sub(r'[^ -~]|["\\%]', "_", safe)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"


def _shortened(name: str) -> str:
    """Cut the stem, so that the extension and whole characters stay."""
    if len(name.encode()) <= LIMIT_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    ending = f"{dot}{extension}" if stem and len(extension.encode()) <= 20 else ""
    kept = (stem if ending else name).encode()[: LIMIT_BYTES - len(ending.encode())]
    return (kept.decode(errors="ignore").rstrip(". ") or "file") + ending
