"""What a Lua script's header promises, compared with what its body does.

Rule: the header is the block comment at the top. It names each KEYS[n] and ARGV[n] at the start of
a line, or after three spaces (`KEYS[2..]` for all from 2 on) and, after `Returns`, each outcome as
{"name", ...}. The length is that of the file as it is written, everything else is read with its
pieces included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LINE_LIMIT = 60

_HEADER = re.compile(r"\A(?:#!lua[^\n]*\n)?--\[\[(.*?)\]\]", re.DOTALL)
_DECLARED = re.compile(r"(?:^\s*|\s{3,})(KEYS|ARGV)\[(\d+)(\.\.)?\]", re.MULTILINE)
_FIRST_ELEMENT = re.compile(r"\{([^{},]*)")
_FIRST_OF_OUTCOME = re.compile(r"\boutcomes?\[1\][^=\n]*=\s*('[^']*')")
_NAME = re.compile(r"'([a-z_]+)'")


def breaches(written: str, assembled: str = "") -> list[str]:
    """Say where header and body disagree; an empty list is a kept contract."""
    text = assembled or written
    header = _HEADER.match(text)
    if header is None:
        return ["it does not begin with a header in --[[ ]]"]
    contract, body = header.group(1), _without_comments(text[header.end() :])
    found = [*_length_breaches(written), *_purpose_breaches(contract)]
    for table in ("KEYS", "ARGV"):
        found += _argument_breaches(table, contract, body)
    return [*found, *_outcome_breaches(contract, body)]


def piece_breaches(written: str) -> list[str]:
    """Say what an included piece does that a piece may not."""
    found = list(_length_breaches(written))
    lines = [line for line in written.splitlines() if not line.startswith("--- @include")]
    if not next(filter(None, lines), "").startswith("-- "):
        found.append("it does not begin with a comment that says what it is for")
    body = _without_comments(written)
    if re.search(r"\b(KEYS|ARGV)\b", body):
        found.append("it reads KEYS or ARGV, which are its script's")
    outside = re.sub(r"^local function .*?^end$", "", body, flags=re.MULTILINE | re.DOTALL)
    if re.sub(r"^local \w+ = \{\}$", "", outside, flags=re.MULTILINE).strip():
        found.append("it holds something beside local functions and what they note")
    return found


def _without_comments(body: str) -> str:
    return re.sub(r"--[^\n]*", "", body)


def _length_breaches(text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines >= LINE_LIMIT:
        yield f"it has {lines} lines; the limit is {LINE_LIMIT - 1}"


def _purpose_breaches(contract: str) -> Iterator[str]:
    first = contract.strip().splitlines()[0] if contract.strip() else ""
    if not first or first.strip().startswith(("KEYS[", "ARGV[", "Returns")):
        yield "the header does not begin with the script's purpose"


def _argument_breaches(table: str, contract: str, body: str) -> Iterator[str]:
    declared = [m.groups() for m in _DECLARED.finditer(contract) if m.group(1) == table]
    fixed = {int(number) for _, number, rest in declared if not rest}
    rests = {int(number) for _, number, rest in declared if rest}
    used = {int(number) for number in re.findall(rf"\b{table}\[(\d+)\]", body)}
    takes_all = re.search(rf"unpack\({table}\)", body) is not None
    walks = _walks(table, body)
    expected = set(range(1, len(fixed) + len(rests) + 1))
    if fixed | rests != expected:
        yield f"{table} of the header are not numbered 1, 2, 3 ..."
    for number in sorted(used - fixed):
        if not rests or number < min(rests):
            yield f"{table}[{number}] is used but not in the header"
    for number in sorted(fixed - used if not takes_all else ()):
        yield f"{table}[{number}] is in the header but not used"
    if walks and not rests:
        yield f"{table} are walked over, but the header has no {table}[n..]"
    if rests and not walks and not takes_all:
        yield f"{table}[{min(rests)}..] is in the header, but nothing walks over {table}"


def _walks(table: str, body: str) -> bool:
    """Say whether the body reaches a number of elements that it does not know beforehand."""
    by_expression = rf"\b{table}\[(?!\d+\])"
    return re.search(rf"#{table}\b|{by_expression}|unpack\({table}\s*,", body) is not None


def _outcome_breaches(contract: str, body: str) -> Iterator[str]:
    _, returns, promised = contract.partition("Returns")
    named = set(re.findall(r"\{\"([a-z_]+)\"", promised))
    if not returns or not named:
        yield "the header has no `Returns` with a named outcome"
    given = set(_returned(body))
    literals = set(_NAME.findall(body))
    for name in sorted(given - named):
        yield f"outcome {name!r} is returned but not in the header"
    for name in sorted(named - literals):
        yield f"outcome {name!r} is in the header but never returned"


def _returned(body: str) -> Iterator[str]:
    """Yield the names that stand first in a table; commands are written in capitals."""
    for first in [*_FIRST_ELEMENT.findall(body), *_FIRST_OF_OUTCOME.findall(body)]:
        yield from _NAME.findall(first)
