"""Limits from a config file: tables such as `[limits.running.user]`.

Rule: a sentence names a key and its table, never the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from everfold.streams.errors import EverfoldError
from everfold.streams.events.ranges import RANGES
from everfold.streams.queues.limits import SCOPES, Limit, Scope, What, check_limit

TABLE = "limits"


def without_limits(document: Mapping[str, object]) -> dict[str, object]:
    """Return a file without its limits; what the command `limits` takes stays."""
    table = document.get(TABLE)
    if not isinstance(table, Mapping):
        return dict(document)
    rest = {key: value for key, value in table.items() if key not in SCOPES}
    return {**{key: one for key, one in document.items() if key != TABLE},
            **({TABLE: rest} if rest else {})}  # fmt: skip


def from_table(table: object) -> tuple[list[Limit], list[str]]:
    """Return what the table `limits` of a file sets, and a sentence for each mistake in it."""
    rows, problems = list[Limit](), list[str]()
    for what, scopes in (table if isinstance(table, Mapping) else {}).items():
        if what not in SCOPES:
            continue
        for found in _of_scopes(what, scopes):
            if isinstance(found, str):
                problems.append(found)
            else:
                rows.append(found)
    return rows, problems


def _of_scopes(what: str, scopes: object) -> Iterator[Limit | str]:
    known, place = SCOPES[what], f"[{TABLE}.{what}]"
    if not isinstance(scopes, Mapping):
        yield f"`{what}` in [{TABLE}] must be a table: write [{TABLE}.{what}.{known[0]}]"
        return
    for scope, names in scopes.items():
        if scope not in known:
            yield f"unknown key `{scope}` in {place}; there are {', '.join(known)}"
        elif not isinstance(names, Mapping):
            yield f"`{scope}` in {place} must be a table: write [{TABLE}.{what}.{scope}]"
        else:
            yield from (_read(what, scope, name, number) for name, number in names.items())


def _read(what: str, scope: str, name: str, number: object) -> Limit | str:
    allowed = RANGES[f"{what}_limit"]
    if isinstance(number, int | float) and not isinstance(number, bool):
        try:
            return check_limit(Limit(cast("What", what), cast("Scope", scope), name, number))
        except EverfoldError:
            pass
    only = "; a share is one user's" if what == "share" and name == "*" else ""
    return f"`{name}` in [{TABLE}.{what}.{scope}] must be {allowed.kind} {allowed.ends}{only}"
