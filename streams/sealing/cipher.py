"""What sealing asks of a cipher. The real one is in everfold/erasing: it needs a package that the
core does not have.

Rule: pure. Sealing is deterministic: equal contents under one key and place give equal bytes, so
that a repeated submit can be compared and equal graphs of a user are stored once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct

from everfold.streams.border.secrets import Secret


class SealBroken(ValueError):
    """These bytes were not sealed with this key for this place, or were changed since."""


class Wrapped(Struct, frozen=True):
    """A key of a user as it is stored: encrypted."""

    by: str
    """Which key of the environment opens it: the beginning of that key's digest."""
    text: str
    """Base64url."""


@runtime_checkable
class Cipher(Protocol):
    """The keys of the environment, and what is done with them. `about` names the place of a
    content: it opens in that place only."""

    def has_key(self, by: str) -> bool:
        """Say whether the environment has the key of this name."""

    def new_key(self) -> Secret:
        """Return a new random key for the contents of one user."""

    def wrap(self, key: Secret, about: str) -> Wrapped:
        """Encrypt a user's key under the newest key of the environment."""

    def unwrap(self, wrapped: Wrapped, about: str) -> Secret:
        """Return a user's key. Raises SealKeyMissing without the key that wrapped it, else
        SealBroken."""

    def seal(self, key: Secret, content: bytes, about: str) -> str:
        """Return the content encrypted, as base64url."""

    def unseal(self, key: Secret, sealed: str, about: str) -> bytes:
        """Return the content. Raises SealBroken."""
