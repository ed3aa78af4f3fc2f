"""Passwords, keys and addresses that carry some, as values that cannot be shown by accident.

Rule: pure. Only `reveal` gives the value away. Printed, formatted or logged a secret is a mask; it
has no JSON and no pickle.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import NoReturn, TypeVar, cast

from msgspec import Struct, structs

from everfold.streams.border.addresses import MASK, masked_address, masked_receiver

T = TypeVar("T")


class Secret:
    """A text that nobody may see. Two are equal when their texts are; comparing tells no more."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        self._value = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """Return the text itself: for the one call that needs it, never for a message."""
        return self._value

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time. A secret equals no plain text."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


class SecretUrl(Secret):
    """An address that may carry a password: shown without it, and without values of its query."""

    __slots__ = ()

    def __str__(self) -> str:
        return masked_address(self._value)


class ReceiverUrl(SecretUrl):
    """The address of a webhook, whose path and query may be the secret: shown as its host."""

    __slots__ = ()

    def __str__(self) -> str:
        return masked_receiver(self._value)


def redacted(value: T, secrets: Iterable[Secret]) -> T:
    """Return a value without these secrets: masked in all its texts, names of objects included.

    It may be a text, a list, a mapping, or a Struct of such.
    """
    texts = [text for secret in secrets if (text := secret.reveal())]
    return cast("T", _without(value, texts)) if texts else value


def _without(value: object, texts: list[str]) -> object:
    match value:
        case str():
            for text in texts:
                value = value.replace(text, MASK)
            return value
        case dict():
            return {_without(name, texts): _without(part, texts) for name, part in value.items()}
        case list() | tuple():
            return type(value)([_without(part, texts) for part in value])
        case Struct():
            parts = {field: getattr(value, field) for field in value.__struct_fields__}
            return structs.replace(value, **{k: _without(v, texts) for k, v in parts.items()})
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
