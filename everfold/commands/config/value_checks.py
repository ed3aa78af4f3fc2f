"""What is wrong with a value of the right type, as far as it is known before it is used.

Rule: a sentence repeats nothing of the value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from everfold.streams.errors import BackendUrlInvalid, EverfoldError, InvalidName, ServerUrlInvalid


def fault_of(key: str, value: object) -> str:
    """Return what is wrong with the value of a key, empty for one that may be right."""
    check = _CHECKS.get(key)
    try:
        if check is not None:
            check(value)
    except InvalidName as error:
        return f"is not usable: {error.rule}"
    except BackendUrlInvalid as error:
        return f"names no server: {error.why}"
    except ServerUrlInvalid:
        from everfold.streams.nodes.address import FORMS

        return f"is not a Redis URL; {FORMS}"
    except EverfoldError:
        return "is not usable"
    return ""


def _namespace(value: object) -> None:
    from everfold.streams.events.checks import check_name

    check_name("namespace", value)


def _server(value: object) -> None:
    from everfold.streams.nodes.address import parse_address

    parse_address(value)


def _backends(value: object) -> None:
    from everfold.commands.config.backend_settings import named_url, words_of
    from everfold.runner.access.address import read_address

    for word in words_of(str(one) for one in (value if isinstance(value, list) else [value])):
        name, url = named_url(word)
        if name or ":" in word:  # else it is the name of a backend that has a table
            read_address(url)


_CHECKS: Mapping[str, Callable[[object], None]] = {
    "namespace": _namespace,
    "redis_url": _server,
    "comfyui": _backends,
}
