"""What a key is: the text that a client shows, and what is stored of it.

Rule: pure. A key has 256 random bits, so that its plain SHA-256 is enough: nobody can guess it. It
is compared in constant time, and of the text itself nothing is kept.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from msgspec import Struct

from everfold.streams.border.secrets import Secret
from everfold.web.caller import Caller, Role

_TEXT = re.compile(r"ef_([0-9a-f]{10})_([0-9a-f]{64})")

_NO_DIGEST = "0" * 64
"""What an unknown key is compared with, so that it takes as long as a known one."""


class Key(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is stored, without its text."""

    name: str
    role: Role
    sha256: str
    """Of the secret part, in hexadecimal digits."""
    created_ms: int
    """Server time, Unix ms; so are the others."""
    user: str = ""
    """Owner of what it makes and sees; empty: it sees all, and owns what no user owns."""
    created_by: str = ""
    expires_ms: int | None = None
    revoked_ms: int | None = None
    requests_per_s: float | None = None
    """Instead of the gateway's default; so are the others."""
    streams: int | None = None
    body_limit_bytes: int | None = None

    def is_good(self, now_ms: float) -> bool:
        """Say whether it counts at a time."""
        if self.revoked_ms is not None:
            return False
        return self.expires_ms is None or now_ms < self.expires_ms

    def caller(self, key_id: str) -> Caller:
        """Return who calls with it."""
        return Caller(
            role=self.role,
            user=self.user,
            key_id=key_id,
            sees_all=self.role != "user" and not self.user,
        )


class Shown(Struct, frozen=True):
    """The two parts of a key that a client shows."""

    key_id: str
    secret: Secret

    @classmethod
    def read(cls, text: str) -> Shown | None:
        """Read a key; None for a text that is none."""
        found = _TEXT.fullmatch(text)
        return cls(found[1], Secret(found[2])) if found else None

    def text(self) -> Secret:
        """Return the key as a client shows it."""
        return Secret(f"ef_{self.key_id}_{self.secret.reveal()}")

    def digest(self) -> str:
        """Return what is stored of the secret."""
        return digest_of(self.secret.reveal())

    def fits(self, key: Key | None) -> bool:
        """Compare with a stored key in constant time; None stands for an unknown one."""
        stored = key.sha256 if key is not None else _NO_DIGEST
        return hmac.compare_digest(self.digest().encode(), stored.encode()) and key is not None


def digest_of(text: str) -> str:
    """Return the SHA-256 of a random text, in hexadecimal digits."""
    return sha256(text.encode()).hexdigest()
