"""Masks what is secret in addresses, and in texts that may hold some.

Rule: pure. All of the user's part is masked, for a user may be a token; so is every value of a
query. What cannot be told apart is masked: a malformed address shows too little, never too much.
"""

from __future__ import annotations

import re

MASK = "***"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_QUERY_VALUE = re.compile(r"([?&;][^=&;?]*=)[^&;]*")

_NO_PORT = re.compile(r"^([^/:\[\]]*):(?!\d*(?:/|$)).*")
"""A host, and behind its colon no port: as when the @ after a password was forgotten."""

_SEVERAL = re.compile(r"rediss?\+(?:sentinel|cluster)://")
"""Before the hosts of one service, with commas between them."""

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d+")

_SECRET_NAMES = (
    r"secret|password|passwd|passphrase|token|(?:api|private|seal)[_-]?key|credential|signature"
)

_AFTER_HOST = re.compile(r"[/?#\\]")

_NEXT = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Between two addresses of a list."""

_BEHIND = ".,;:)"
"""What a sentence has behind an address; without it a port is a port."""

_WORD = r"[^\s'\"<>`]"


def _quoted(group: str) -> str:
    """Match a text or bytes as Python and JSON write them, JSON within JSON too."""
    mark = f"{group}_mark"
    inside = rf"(?:(?!(?P={mark}))(?:\\.|[^\r\n]))*"
    return rf"""b?(?P<{mark}>\\?['"]){inside}(?P={mark})"""


# Each alternative begins where nothing of its own kind stands before it: so a long text without
# secrets is read once, and not once for each of its characters.
_IN_TEXT = re.compile(
    rf"""
    (?<![A-Za-z0-9+.-]) (?P<scheme>[A-Za-z0-9+.-]+://) {_WORD}*  # an address
    | (?<!{_WORD}) (?P<pair>[^\s'"<>`:]*:{_WORD}*@)              # user:password@ without a scheme
    | (?P<header>(?:authorization|cookie|x-api-key|otlp_(?:traces_)?headers)
                 (?:\s*[:=]\s*|\\?['"]\s*[:,]\s*))
      (?:{_quoted("header")} | [^\r\n]+)                        # a header, to the end of its line
    | (?<![\w-]) (?P<bearer>bearer\s+) (?=\S*\d) [^\s'"]{{8,}}
    | whsec_[A-Za-z0-9+/=_-]+ | phc_[A-Za-z0-9_-]+               # keys that say what they are
    | ef_[0-9a-f]{{10}}_[0-9a-f]+                                  # a key of the gateway
    | (?<![\w-]) (?=[\w-]*(?:{_SECRET_NAMES}))
      (?P<setting>[\w-]+(?:\s*=\s*|\\?['"]\s*[:,]\s*) | [\w-]*(?:{_SECRET_NAMES})\s*:\s+)
      (?:{_quoted("setting")} | ['"]?[^\s,;&'"]+)                # name=value, "name": "value"
    | (?P<arguments>args\ beginning\ with:)[^\n]+               # Redis repeats a command's words
    """,
    re.VERBOSE | re.IGNORECASE,
)


_MARKS = re.compile(r"[:=_,]|earer\s", re.IGNORECASE)
"""Whatever is masked has one of them."""


def masked_address(address: str) -> str:
    """Return an address, or a list with commas, for people: no user, password or query value."""
    return ", ".join(_masked(one) for one in _NEXT.split(address))


def masked_receiver(address: str) -> str:
    """Return scheme and host of a webhook's address; the rest may be its secret."""
    found = _SCHEME.match(address.strip())
    if found is None:
        return MASK
    user, at, rest = address.strip()[found.end() :].rpartition("@")
    if _AFTER_HOST.search(user):  # the @ may stand in a password, or far behind the host
        return f"{found[0]}{MASK}"
    host, mark, _ = _AFTER_HOST.sub("/", rest).partition("/")
    host = _NO_PORT.sub(rf"\1:{MASK}", host)
    return f"{found[0]}{f'{MASK}@' if at else ''}{host}{f'/{MASK}' if mark else ''}"


def masked_text(text: str) -> str:
    """Return a text for people or logs, with what looks like a secret in it masked."""
    if not _MARKS.search(text):
        return text
    return _IN_TEXT.sub(_replaced, text)


def _masked(address: str) -> str:
    text = address.strip()
    found = _SCHEME.match(text)
    scheme = found[0] if found else ""
    if _is_path(scheme, text):
        return text
    user, at, rest = text[len(scheme) :].rpartition("@")
    if "?" in user or "#" in user:  # the @ may stand in a password, or in a value of the query
        return scheme + MASK
    rest, fragment, _ = rest.partition("#")
    path, question, query = rest.partition("?")
    shown = scheme + (f"{MASK}@" if at else "") + _hosts(scheme, path)
    if question:
        query = _QUERY_VALUE.sub(rf"\1{MASK}", f"?{query}")
        shown += query if "=" in query else f"?{MASK}"
    return shown + (f"#{MASK}" if fragment else "")


def _hosts(scheme: str, path: str) -> str:
    """Return the hosts and what stands behind them, masked where a host may be a password."""
    hosts = path.partition("/")[0].split(",")
    if _SEVERAL.fullmatch(scheme) and all(map(_HOST_AND_PORT.fullmatch, hosts)):
        return path
    return _NO_PORT.sub(rf"\1:{MASK}", path)


def _is_path(scheme: str, rest: str) -> bool:
    """Say whether this is a file's path, which has neither user nor query."""
    is_address = "//" in rest or "?" in rest or ":" in rest.rpartition("@")[0]
    return not scheme and not is_address and rest.startswith(("/", ".", "~"))


def _replaced(found: re.Match[str]) -> str:
    if found["scheme"]:
        address = found[0].rstrip(_BEHIND)
        return masked_address(address) + found[0][len(address) :]
    if found["pair"]:
        return f"{MASK}@"
    if mark := found["header_mark"] or found["setting_mark"]:
        return f"{found['header'] or found['setting']}{mark}{MASK}{mark}"
    named = (found[one] for one in ("header", "bearer", "setting", "arguments"))
    return "".join(text or "" for text in named) + MASK
