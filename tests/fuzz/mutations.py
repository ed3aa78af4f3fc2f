"""Values of any kind, and texts that are right but for a few places."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.everfold.contract.schemas import Json

Step = str | int

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
"""Surrogates and control characters among them."""
ODD_TEXTS = st.sampled_from(
    ("", "0", "-1", "\x00", "\ud800", "\u202e", "a\nb", "x" * 5000, "🙂", "²", "9" * 400, "1e999")
)
NUMBERS = (
    st.integers(-5, 5)
    | st.integers()
    | st.floats()
    | st.sampled_from((2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, 0.1))
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | ODD_TEXTS
DEEP = st.sampled_from((50, 70, 90, 500, 5000)).map(lambda levels: Deep(levels))


class Deep:
    """Stands in a JSON value for lists in one another."""

    def __init__(self, levels: int) -> None:
        self.text = "[" * levels + "]" * levels

    def __repr__(self) -> str:
        return f"Deep({len(self.text) // 2})"


VALUES: SearchStrategy[Json] = st.recursive(
    SCALARS | DEEP,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def dump(value: Json) -> bytes:
    """Return JSON as bytes, with NaN and half characters as they may stand in broken JSON."""
    if isinstance(value, Deep):
        return value.text.encode()
    if isinstance(value, dict):
        parts = (dump(str(name)) + b":" + dump(inner) for name, inner in value.items())
        return b"{" + b",".join(parts) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(dump, value)) + b"]"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 300:
        return b"1" + b"0" * 400
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _places(value: Json, above: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    yield above
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*above, step))


@st.composite
def changed(draw: st.DrawFn, documents: Sequence[Json], values: SearchStrategy[Json]) -> Json:
    """Return one of some JSON values with up to three of its places replaced, added or deleted."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 3))):
        *above, last = draw(st.sampled_from(list(_places(document))[1:] or [("x",)]))
        inside = document
        for step in above:
            inside = inside[step]
        match draw(st.sampled_from(("replace", "add", "delete"))):
            case "replace":
                inside[last] = draw(values)
            case "add" if isinstance(inside, dict):
                inside[draw(TEXTS)] = draw(values)
            case "add":
                inside.append(draw(values))
            case "delete":
                del inside[last]
    return document


@st.composite
def spoiled(draw: st.DrawFn, texts: SearchStrategy[bytes]) -> bytes:
    """Return bytes of which a few may be cut out, replaced or put in."""
    text = draw(texts)
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)) | st.just(len(text)))
        text = text[:start] + draw(st.binary(max_size=6)) + text[end:]
    return text
