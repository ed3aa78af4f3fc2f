"""Policies from settings: `[policy]`, `[policy.queue.NAME]`, `[policy.kind.NAME]`, and variables.

Rule: pure. Field by field the most special setting wins: that of the job's kind, then that of its
queue, then the general one; of two for the same, the variable before the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from everfold.durations import DAY_S, ENDLESS, duration_s
from everfold.streams.errors import EverfoldError, InvalidName, Misconfigured
from everfold.streams.events.event import Policy
from everfold.streams.events.policies import (
    COUNTS,
    NAMES,
    WORDS,
    check_policy,
    check_word,
    one_of,
)
from everfold.streams.events.ranges import RANGES

FIELDS = {name.removesuffix("_s"): name for name in NAMES}
"""A field's name as a setting and a flag -> its name in a policy, where times have their unit."""

SCOPES = ("queue", "kind")
TABLE = "policy"
PREFIX = "EVERFOLD_POLICY_"

PolicyValue = float | int | str | None


class PolicySetting(Struct, frozen=True):
    """One field of the policy, for all jobs or for those of one queue or kind."""

    scope: str
    """queue, kind, or empty for all jobs."""
    of: str
    """The name of the queue or kind; of a variable as `word` writes it."""
    key: str
    """A key of FIELDS."""
    value: PolicyValue
    variable: str = ""
    """The environment variable that sets it, empty for the file."""

    @property
    def name(self) -> str:
        """Its full name, such as policy.kind.video.run_deadline."""
        return ".".join(part for part in (TABLE, self.scope, self.of, self.key) if part)

    def is_for(self, scope: str, of: object) -> bool:
        """Say whether it counts for a queue or kind; never for what is no name."""
        if not isinstance(of, str) or self.scope != scope:
            return False
        return self.of == (word(of) if self.variable else of)


class PolicySettings(Struct, frozen=True):
    """All settings of policies, those of the file first."""

    rows: tuple[PolicySetting, ...] = ()

    def fields(self, queue: str, kind: str) -> dict[str, PolicyValue]:
        """Return the fields that are set for a job of this queue and kind."""
        found: dict[str, PolicyValue] = {}
        for scope, of in (("", ""), ("queue", queue), ("kind", kind)):
            found |= {FIELDS[row.key]: row.value for row in self.rows if row.is_for(scope, of)}
        return found

    def policy(self, queue: str, kind: str, given: Mapping[str, object]) -> Policy:
        """Return the policy of a job; `given` are the fields that its submit sets.

        Raises InvalidName for a field that there is not, or a value outside of its range.
        """
        for name in given:
            if name not in NAMES:
                raise InvalidName("policy", name, f"the names are {', '.join(NAMES)}")
        values: dict[str, object] = {**self.fields(queue, kind), **given}
        return check_policy(Policy(**values))  # type: ignore[arg-type]  # checked right here


NO_SETTINGS = PolicySettings()


def word(name: str) -> str:
    """Return the name of a queue or kind as a variable has it."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def read_value(key: str, value: object, what: str = "") -> PolicyValue:
    """Return the value of a setting: a count, seconds or a word. Raises InvalidName, which says the
    range.

    A time is a number of seconds, a duration such as "15m", or "none" for no limit.
    """
    name = FIELDS[key]
    if name in WORDS:
        word_given = value.strip().lower() if isinstance(value, str) else value
        check_word(what or key, word_given, name)
        return word_given  # type: ignore[return-value]  # it is one of the words
    allowed, found = RANGES[name], value
    if isinstance(value, str) and name in COUNTS:
        found = int(value) if re.fullmatch(r"-?[0-9]{1,9}", value.strip()) else value
    elif isinstance(value, str):
        seconds = duration_s(value)
        found = None if value.strip().lower() == ENDLESS else seconds if seconds is not None else ""
    if found not in allowed or (found is None and value is None):
        raise InvalidName(what or key, value, f"use {ends(key)}")
    return found  # type: ignore[return-value]  # it is in the range


def ends(key: str) -> str:
    """Return what a setting may be, in words."""
    if FIELDS[key] in WORDS:
        return one_of(FIELDS[key])
    allowed = RANGES[FIELDS[key]]
    if FIELDS[key] in COUNTS:
        return f"{allowed.kind} {allowed.ends}"
    limits = f"from {allowed.least:g}s to {allowed.most / DAY_S:g}d"
    return f"a duration {limits}" + f", or {ENDLESS}" * allowed.is_endless


def shown_value(row: PolicySetting) -> str | float | int:
    """Return a setting's value as people write it."""
    if row.value is None:
        return ENDLESS
    is_plain = FIELDS[row.key] in COUNTS or isinstance(row.value, str)
    return row.value if is_plain else f"{row.value:g}s"


def from_table(table: object) -> tuple[list[PolicySetting], list[str]]:
    """Return what the table `policy` of a file sets, and a sentence for each mistake in it."""
    rows, problems = list[PolicySetting](), list[str]()
    for found in _of_table(table):
        if isinstance(found, str):
            problems.append(found)
        else:
            rows.append(found)
    return rows, problems


def _of_table(table: object) -> Iterator[PolicySetting | str]:
    if not isinstance(table, Mapping):
        yield f"`{TABLE}` at the top must be a table: write [{TABLE}]"
        return
    for key, value in table.items():
        if key not in SCOPES:
            yield _read(value, "", "", key)
            continue
        if not isinstance(value, Mapping):
            yield f"`{key}` in [{TABLE}] must be a table: write [{TABLE}.{key}.NAME]"
            continue
        for of, inner in value.items():
            if isinstance(inner, Mapping):
                yield from (_read(one, key, of, name) for name, one in inner.items())
            else:
                where = f"[{TABLE}.{key}]"
                yield f"`{of}` in {where} must be a table: write [{TABLE}.{key}.{of}]"


def _read(value: object, scope: str, of: str, key: str) -> PolicySetting | str:
    """Return one setting of a file, or what is wrong with it."""
    place = f"[{'.'.join(part for part in (TABLE, scope, of) if part)}]"
    plain = key.replace("-", "_")
    if plain not in FIELDS:
        return f"unknown key `{key}` in {place}{_instead(plain, '`{}`')}"
    try:
        return PolicySetting(scope, of, plain, read_value(plain, value))
    except InvalidName:
        return f"`{key}` in {place} must be {ends(plain)}"


def from_environment(environ: Mapping[str, str]) -> Iterator[PolicySetting]:
    """Yield what variables set; an empty one sets nothing. Raises Misconfigured for a wrong one."""
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or not text:
            continue
        scope, of, key = _parts(variable.removeprefix(PREFIX).lower())
        if key not in FIELDS:
            names = f"{PREFIX}{{}}"
            raise Misconfigured(f"the variable {variable} is unknown{_instead(key, names)}")
        try:
            value = read_value(key, text, variable)
        except EverfoldError as error:
            raise Misconfigured(str(error)) from error
        yield PolicySetting(scope, of.upper(), key, value, variable)


def _parts(name: str) -> tuple[str, str, str]:
    """Return scope, name and key of a variable in lower case; the longest key counts."""
    if name in FIELDS:
        return "", "", name
    scope, _, rest = name.partition("_")
    keys = [key for key in FIELDS if rest.endswith(f"_{key}") and len(rest) > len(key) + 1]
    if scope in SCOPES and keys:
        key = max(keys, key=len)
        return scope, rest.removesuffix(f"_{key}"), key
    return "", "", name


def _instead(wrong: str, written: str) -> str:
    shown = {key: written.format(key.upper() if "EVERFOLD" in written else key) for key in FIELDS}
    if near := difflib.get_close_matches(wrong, [*FIELDS, *NAMES], n=1, cutoff=0.7):
        return f"; did you mean {shown[near[0].removesuffix('_s')]}?"
    return f"; there are {', '.join(shown.values())}"
