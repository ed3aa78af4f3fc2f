"""How a sealed value looks where it stands in the place of the plain one.

Rule: pure. An object becomes `{"everfold_sealed": "<key id>.<base64url>"}`, a text becomes
`everfold_sealed:<key id>.<base64url>`, so that each fits the type of its place. What is sealed is
never cut or changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

SEALED = "everfold_sealed"
"""Name of the one member of a sealed object, and the beginning of a sealed text."""

KEY_ID_LENGTH = 40
"""Hex digits: 32 of the user's digest, 8 of the key."""

_FORM = re.compile(rf"[0-9a-f]{{{KEY_ID_LENGTH}}}\.[A-Za-z0-9_-]{{22,}}")
_TEXT = f"{SEALED}:"
_CONTENT = b'{"everfold_sealed":"'


def sealed_text(value: object) -> str:
    """Return `<key id>.<base64url>` of a sealed object or text; empty for any other value."""
    match value:
        case str() if value.startswith(_TEXT):
            text: object = value[len(_TEXT) :]
        case Mapping() if len(value) == 1 and SEALED in value:
            text = value[SEALED]
        case _:
            return ""
    return text if isinstance(text, str) and _FORM.fullmatch(text) else ""


def is_sealed(value: object) -> bool:
    """Say whether this object or text stands for a sealed one."""
    return bool(sealed_text(value))


def as_object(text: str) -> dict[str, object]:
    """Return the sealed form of an object."""
    return {SEALED: text}


def as_text(text: str) -> str:
    """Return the sealed form of a text."""
    return _TEXT + text


def as_content(text: str) -> bytes:
    """Return the sealed form of stored bytes, such as a graph: it is JSON, too."""
    return _CONTENT + text.encode() + b'"}'


def content_text(content: bytes) -> str:
    """Return `<key id>.<base64url>` of sealed bytes; empty for bytes that are not sealed."""
    if not content.startswith(_CONTENT):
        return ""
    text = content[len(_CONTENT) : -2].decode(errors="replace")
    return text if _FORM.fullmatch(text) else ""


def key_id_of(text: str) -> str:
    """Return the id of the key under which this was sealed."""
    return text[:KEY_ID_LENGTH]


def holds_sealed(value: object) -> bool:
    """Say whether something inside a value is sealed."""
    match value:
        case str() | Mapping() if is_sealed(value):
            return True
        case Mapping():
            return any(map(holds_sealed, value.values()))
        case list() | tuple():
            return any(map(holds_sealed, value))
        case Struct():
            return any(holds_sealed(getattr(value, name)) for name in value.__struct_fields__)
    return False
