"""Options may stand before a command or between its words: they are put behind these, where it
looks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cyclopts import App

VALUED = {
    *("--namespace", "-n", "--redis-url", "--redis-ca", "--redis-cert", "--redis-key"),
    *("--replicas", "--replicas-within", "--replicas-for"),
}
"""The common options that have a value; a test compares both sets with the session's."""

FLAGS = {"--json", "--redis-check-hostname", "--no-redis-check-hostname"}

VERSION, HELP = ("--version", "version"), ("--help", "-h")


def with_options_last(app: App, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the common options that stand before the command, or between its
    words, behind these words."""
    words, options, place, below = list[str](), list[str](), 0, app
    while place < len(arguments):
        word = arguments[place]
        if length := _option_length(word):
            options += arguments[place : place + length]
            place += length
        elif word in below and not word.startswith("-"):
            words.append(word)
            below = below[word]
            place += 1
        else:
            break
    rest = list(arguments[place:])
    asked = rest[0] if rest else ""
    if words[:1] == ["help"] or asked in HELP or (not words and asked in VERSION):
        return [*words, *rest]
    return [*words, *options, *rest]


def _option_length(word: str) -> int:
    """Return how many arguments a common option takes that begins with this word; 0 for others."""
    name, equals, _ = word.partition("=")
    if name in VALUED:
        return 1 if equals else 2
    return int(name in FLAGS or (name.startswith("-n") and len(name) > 2))


def command_words(app: App, arguments: Iterable[str]) -> list[str]:
    """Return the words at the beginning that name a command."""
    found = list[str]()
    for word in arguments:
        if word.startswith("-") or word not in app:
            break
        found.append(word)
        app = app[word]
    return found
