"""Values from outside, as a sentence shows them, and the name that may have been meant.

Rule: pure and total.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def shown(value: object) -> str:
    """Return a value for a sentence: a value can be of any depth and size, a sentence cannot."""
    if isinstance(value, int) and value.bit_length() > 300:
        return "(a huge number)"  # Python refuses to write it
    is_simple = type(value) in (str, int, float, bool, type(None))
    text = repr(value) if is_simple else f"(a {type(value).__name__})"
    return text if len(text) <= 120 else f"{text[:120]}..."


def instead(name: object, known: Sequence[str]) -> str:
    """Return the question after the known name that is nearest, else all of them."""
    near = difflib.get_close_matches(str(name)[:200], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
