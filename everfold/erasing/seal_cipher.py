"""The cipher of sealing: AES-SIV for contents, AES-GCM for the keys of users, both of 256 bits.

Rule: the keys of the environment are never stored or shown. What is sealed is deterministic (AES-
SIV, RFC 5297): it tells which contents of one user are equal, and nothing else. Needs
`everfold[erase]`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Misconfigured, SealKeyMissing
from everfold.streams.sealing.cipher import Cipher, SealBroken, Wrapped

VARIABLE = "EVERFOLD_SEAL_KEY"
FILE_VARIABLE = "EVERFOLD_SEAL_KEY_FILE"

KEY_BYTES = 32
DATA_KEY_BYTES = 64
"""AES-SIV takes two keys of 256 bits."""

NONCE_BYTES = 12
SHOWN = 8
"""Hex digits of a key's digest by which it is named."""


def environment_cipher(environ: Mapping[str, str] = os.environ) -> Cipher | None:
    """Return the cipher with the keys of EVERFOLD_SEAL_KEY, or of the file that
    EVERFOLD_SEAL_KEY_FILE names; None where neither is set.

    Several keys are separated by commas or white space: the first wraps, all of them unwrap. Raises
    Misconfigured, which shows no part of a key.
    """
    text, name = environ.get(VARIABLE, ""), VARIABLE
    if not text and (path := environ.get(FILE_VARIABLE, "")):
        name = FILE_VARIABLE
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(f"{FILE_VARIABLE} names a file that cannot be read") from None
    words = text.replace(",", " ").split()
    if not text and name == VARIABLE:
        return None
    return seal_cipher([_key(word, name) for word in words] or [_key("", name)])


def _key(word: str, name: str) -> Secret:
    try:
        found = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES:
        advice = "make one with `openssl rand -base64 32`"
        raise Misconfigured(f"{name} is no key of {KEY_BYTES} bytes in base64: {advice}")
    return Secret(found.hex())


def seal_cipher(keys: Sequence[Secret]) -> Cipher:
    """Return the cipher with these keys, 64 hex digits each, the newest first.

    Raises Misconfigured without the package that it needs.
    """
    try:
        import cryptography.hazmat.primitives.ciphers.aead as _aead  # noqa: F401
    except ImportError:
        what = f"{VARIABLE} is set, and the package cryptography is not installed"
        raise Misconfigured(f"{what}: pip install 'everfold[erase]'") from None
    return AesCipher(keys)


class AesCipher:
    """See Cipher."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._newest = _name_of(keys[0])
        self._keys = {_name_of(key): key for key in keys}

    def has_key(self, by: str) -> bool:
        return by in self._keys

    def new_key(self) -> Secret:
        return Secret(os.urandom(DATA_KEY_BYTES).hex())

    def wrap(self, key: Secret, about: str) -> Wrapped:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, wrapping = os.urandom(NONCE_BYTES), AESGCM(_bytes(self._keys[self._newest]))
        sealed = wrapping.encrypt(nonce, _bytes(key), about.encode())
        return Wrapped(self._newest, _encoded(nonce + sealed))

    def unwrap(self, wrapped: Wrapped, about: str) -> Secret:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if wrapped.by not in self._keys:
            raise SealKeyMissing(wrapped.by)
        content = _decoded(wrapped.text)
        try:
            opening = AESGCM(_bytes(self._keys[wrapped.by]))
            key = opening.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise SealBroken("this key of a user was changed") from None
        return Secret(key.hex())

    def seal(self, key: Secret, content: bytes, about: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return _encoded(AESSIV(_bytes(key)).encrypt(content, [about.encode()]))

    def unseal(self, key: Secret, sealed: str, about: str) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        try:
            return AESSIV(_bytes(key)).decrypt(_decoded(sealed), [about.encode()])
        except (InvalidTag, ValueError):
            raise SealBroken("this content was changed, or sealed for another place") from None


def _name_of(key: Secret) -> str:
    """Return the beginning of a digest, by which a key is found again and named to people."""
    return hashlib.sha256(b"everfold seal key " + _bytes(key)).hexdigest()[:SHOWN]


def _bytes(key: Secret) -> bytes:
    return bytes.fromhex(key.reveal())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SealBroken("it is no base64") from None
    if _encoded(found) != text:
        raise SealBroken("it is not the one base64 of its bytes")
    return found
