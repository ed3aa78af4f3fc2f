"""Text from outside, made harmless where it is shown: a terminal, a log, markup, JSON.

Rule: pure. Characters that act (control characters, line ends, bidirectional marks) or that nobody
sees (tags, fillers, surrogates) are shown as escapes, so that they act nowhere. Length is bounded.
"""

from __future__ import annotations

import html
import re
import unicodedata

from everfold.streams.border.addresses import masked_text

TERMINAL_LIMIT = 10_000
"""Characters of one text in a terminal; --json shows all of it."""

LOG_LIMIT = 2_000
"""Characters of one text in a log."""

_HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
"""Unicode categories that are not shown."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0e"
    "\U000e0100-\U000e01ef]"
)
"""Letters and marks that have no shape."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def for_terminal(text: str, limit: int = TERMINAL_LIMIT) -> str:
    """Return a text on one line of a terminal or a file for people."""
    return _visible(_cut(text, limit))


def for_log(text: str, limit: int = LOG_LIMIT, read_limit: int = 4 * LOG_LIMIT) -> str:
    """Return a text as a part of one line of a log, with the secrets in it masked.

    It is bounded as `bounded_for_log` does it.
    """
    return _visible(bounded_for_log(text, limit, read_limit))


def bounded_for_log(text: str, limit: int = LOG_LIMIT, read_limit: int = 4 * LOG_LIMIT) -> str:
    """Return a text for a log's writer, which escapes it, with the secrets in it masked.

    Its first `read_limit` characters are searched for secrets: more than are shown, so that none
    is cut in two and missed.
    """
    return _cut(masked_text(text[:read_limit]), limit)


def for_markup(text: str, limit: int = TERMINAL_LIMIT) -> str:
    """Return a text for SVG, XML or HTML, in an element or a quoted attribute."""
    return html.escape(_visible(_cut(text, limit)))


def for_json(document: str) -> str:
    """Return a JSON document with all that a terminal would obey as JSON's own escapes."""
    if document.isprintable() and not _INVISIBLE.search(document):
        return document
    return "".join(c if _is_shown(c) else _utf16(c) for c in document)


def _visible(text: str) -> str:
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(c if _is_shown(c) else _escape(c) for c in text)


def _is_shown(character: str) -> bool:
    if _INVISIBLE.match(character):
        return False
    return character.isprintable() or unicodedata.category(character) not in _HIDDEN


def _escape(character: str) -> str:
    code = ord(character)
    width = 2 if code < 0x100 else 4 if code < 0x10000 else 8
    return _NAMED.get(character) or f"\\{'xuU'[(width > 2) + (width > 4)]}{code:0{width}x}"


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"
