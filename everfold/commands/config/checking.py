"""What is wrong with a config file, and what it should say instead.

Rule: a sentence names the key and its place, never its value, which may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import date, datetime

from everfold.commands.config.options import Option, Tree

PLAIN = {
    "string": str,
    "path": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "table": dict,
}


def settings(document: dict[str, object], known: Tree) -> list[tuple[Option, object]]:
    """Return what a document without problems sets."""
    found = list[tuple[Option, object]]()
    for key, value in document.items():
        below = known[_plain(key)]
        if isinstance(below, Option):
            found.append((below, value))
        elif isinstance(value, dict):
            found += settings(value, below)
    return found


def problems(document: dict[str, object], known: Tree) -> list[str]:
    """Return a sentence for each key that is unknown, misplaced or of a wrong type."""
    return list(_problems(document, known, (), known))


def _problems(
    table: dict[str, object], known: Tree, above: tuple[str, ...], root: Tree
) -> Iterator[str]:
    seen = dict[str, str]()
    for key, value in table.items():
        name = _plain(key)
        if name in seen:
            yield f"`{seen[name]}` and `{key}`{_in(above)} are the same key; leave one out"
        seen[name] = key
        below = known.get(name)
        if below is None:
            yield _unknown(key, value, known, above, root)
        elif isinstance(below, Option):
            yield from _wrong_value(key, value, below, above)
        elif isinstance(value, dict):
            yield from _problems(value, below, (*above, name), root)
        else:
            yield f"`{key}`{_in(above)} must be a table: write {_table((*above, name))}"


def _unknown(key: str, value: object, known: Tree, above: tuple[str, ...], root: Tree) -> str:
    if isinstance(value, dict):
        tables = [name for name, below in known.items() if not isinstance(below, Option)]
        near = [_table((*above, name)) for name in _near(key, tables)]
        return f"unknown table {_table((*above, key))}{_instead(near, tables, 'tables')}"
    keys = [k for k, below in known.items() if isinstance(below, Option) and not below.per_call]
    near = [f"`{name}`" for name in _near(key, keys)]
    if not near:
        near = [f"`{key}`{_in(place)}" for place in _elsewhere(_plain(key), root, ())]
    return f"unknown key `{key}`{_in(above)}{_instead(near, keys, 'keys')}"


def _instead(near: list[str], names: list[str], kind: str) -> str:
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    return f"; the {kind} there are {', '.join(sorted(names))}" if names else ""


def _near(key: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(_plain(key).lower(), names, n=1)


def _elsewhere(name: str, known: Tree, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the tables that have this key."""
    for key, below in known.items():
        if not isinstance(below, Option):
            yield from _elsewhere(name, below, (*above, key))
        elif key == name and not below.per_call:
            yield above


def _wrong_value(key: str, value: object, option: Option, above: tuple[str, ...]) -> Iterator[str]:
    if option.per_call:
        yield f"`{key}`{_in(above)} belongs to one call: give it on the command line"
    elif not _fits(value, option):
        called = _called(value)
        found = "" if called in ("a list", "a string") and _same_kind(value, option) else called
        expected = _article(option.expected)
        yield f"`{key}`{_in(above)} must be {expected}{found and f', not {found}'}"


def _same_kind(value: object, option: Option) -> bool:
    """Whether naming the value's type would not say what is wrong with it."""
    if isinstance(value, list):
        return option.many
    return bool(option.choices) or option.type == "time"


def _fits(value: object, option: Option) -> bool:
    if option.size and (not isinstance(value, list) or len(value) != option.size):
        return False
    if option.many and isinstance(value, list):
        return all(_fits_one(one, option) for one in value)
    return _fits_one(value, option)


def _fits_one(value: object, option: Option) -> bool:
    if option.choices:
        return isinstance(value, str) and value.lower() in {c.lower() for c in option.choices}
    if option.type == "time":
        return isinstance(value, date) or (isinstance(value, str) and _is_time(value))
    if isinstance(value, bool) and option.type in ("integer", "number"):
        return False
    return option.type not in PLAIN or isinstance(value, PLAIN[option.type])


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _called(value: object) -> str:
    """Name the type of a value, not the value: it may be a secret."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "list"}
    names[dict] = "table"
    return _article(names.get(type(value), "time"))


def _article(words: str) -> str:
    if words.startswith("one of"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _in(above: tuple[str, ...]) -> str:
    return f" in {_table(above)}" if above else " at the top"


def _table(words: tuple[str, ...]) -> str:
    return f"[{'.'.join(words)}]"


def _plain(key: str) -> str:
    return key.replace("-", "_")
