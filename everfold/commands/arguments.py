"""Options may stand before the command: they are put behind its words, where it looks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cyclopts import App

VALUED = {"--namespace", "-n", "--redis-url", "--redis-ca", "--redis-cert", "--redis-key"}
"""The common options that have a value; a test compares both sets with the session's."""

FLAGS = {"--json", "--redis-check-hostname", "--no-redis-check-hostname"}

VERSION, HELP = ("--version", "version"), ("--help", "-h")


def with_options_last(app: App, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the common options that stand first behind the command's words."""
    first = _leading(arguments)
    rest = list(arguments[first:])
    if not first or not rest or rest[0] in ("help", *VERSION, *HELP):
        return rest or list(arguments)
    words = len(command_words(app, rest))
    return [*rest[:words], *arguments[:first], *rest[words:]]


def _leading(arguments: Sequence[str]) -> int:
    """Return how many arguments are common options, with their values, before the command."""
    place = 0
    while place < len(arguments):
        name, equals, _ = arguments[place].partition("=")
        if name in VALUED:
            place += 1 if equals else 2
        elif name in FLAGS or (name.startswith("-n") and len(name) > 2):
            place += 1
        else:
            break
    return min(place, len(arguments))


def command_words(app: App, arguments: Iterable[str]) -> list[str]:
    """Return the words at the beginning that name a command."""
    found = list[str]()
    for word in arguments:
        if word.startswith("-") or word not in app:
            break
        found.append(word)
        app = app[word]
    return found
