"""An asset: bytes that never change, and what is known of them.

Rule: pure. Bytes are known by their BLAKE3 hash alone. The id of an asset follows from its owner,
its bytes and its name: the same file of the same owner is one asset, however often it is stored.
Names come from outside: `safe_name` makes of any text one that a file system and a header can have.
"""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID, uuid5
from zlib import crc32

from msgspec import Struct

from everfold.streams.border.plain import Plain
from everfold.streams.border.values import shown
from everfold.streams.errors import InvalidName

HASH_PREFIX = "blake3:"

_HASH = re.compile(r"blake3:[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){4}[0-9a-f]{8}")

NAME_LIMIT_BYTES = 200
"""Of an asset's name as UTF-8: file systems take 255 bytes, and a job's id may come before it."""

DAY_S = 86_400.0

OUTPUT_KEEP_S = 30 * DAY_S
"""How long outputs are kept unless somebody says otherwise: long enough to fetch what a month's
jobs have made, and the store has an end."""

INPUT_KEEP_S = 7 * DAY_S
"""How long an upload is kept after a job last named it."""

REFERENCE = "everfold:"
"""Before an asset's id where a graph names it."""


class Asset(Plain, Struct, frozen=True, kw_only=True):
    """What is known of stored bytes that somebody owns."""

    id: str
    hash: str
    """`blake3:` and 64 hexadecimal digits."""
    size_bytes: int
    media_type: str
    """As the bytes show it, whatever a sender said: image/png, else application/octet-stream."""
    name: str
    """For people, safe as a file name."""
    owner: str
    """The user whose quota it counts for; empty for nobody's."""
    created_ms: int
    """When it was stored first, Unix ms of the server."""
    expires_ms: int = 0
    """When it is to be removed; 0 for never."""
    job_id: str = ""
    """The job that made it, empty for an upload."""
    width: int = 0
    height: int = 0
    """Pixels of a picture; 0 where they are not known."""


def check_hash(text: object) -> str:
    """Return a hash in the form `blake3:<64 hex>`. Raises InvalidName."""
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        raise InvalidName("hash", text, "write blake3: and 64 hexadecimal digits")
    return text


def check_asset_id(text: object) -> str:
    """Return an asset's id, with or without `everfold:` before it. Raises InvalidName."""
    bare = text.removeprefix(REFERENCE) if isinstance(text, str) else text
    if not isinstance(bare, str) or not _ID.fullmatch(bare):
        raise InvalidName(
            "asset", text, "write its whole id, as storing it returned and assets ls shows it"
        )
    return bare


def is_asset_id(text: str) -> bool:
    """Say whether a text can be an asset's id, without `everfold:` before it."""
    return _ID.fullmatch(text) is not None


def asset_id(generation: str, owner: str, content_hash: str, name: str) -> str:
    """Return the id of an asset. `generation` is the namespace's secret: nobody guesses an id.

    Its last 4 digits are of the owner, so that all assets of an owner are in one partition.
    """
    space = uuid5(UUID(int=0), f"{generation}:asset")
    made = str(uuid5(space, f"{len(owner)}:{owner}{content_hash}{name}"))
    return f"{made[:-4]}{crc32(owner.encode()) & 0xFFFF:04x}"


def owner_number(asset: str) -> int:
    """Return the number that all assets of an owner share, from the id of one of them."""
    return int(asset[-4:], 16)


def number_of(owner: str) -> int:
    """Return the number of an owner, as the ids of its assets end with it."""
    return crc32(owner.encode()) & 0xFFFF


def safe_name(name: object, fallback: str = "file") -> str:
    """Return the last part of a path without anything that a file system or header could obey.

    Slashes of both kinds end a folder; control characters, and those that turn the direction of
    writing, are left out; a name of dots only, or of nothing, becomes `fallback`. The ending stays
    when the name is cut to NAME_LIMIT_BYTES.
    """
    text = name if isinstance(name, str) else ""
    text = re.split(r"[/\\]", text)[-1]
    kept = "".join(c for c in text if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*')
    kept = " ".join(kept.split()).lstrip(".").rstrip(". ")
    if not kept:
        return fallback
    stem, dot, ending = kept.rpartition(".")
    if not stem or len(ending) > 10:
        stem, dot, ending = kept, "", ""
    room = NAME_LIMIT_BYTES - len(f"{dot}{ending}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + ending


def shown_asset(asset: Asset) -> str:
    """Return an asset in a few words, for messages."""
    return f"{shown(asset.name)} ({asset.id})"
