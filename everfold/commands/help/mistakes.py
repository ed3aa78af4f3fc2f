"""One sentence for what is wrong with a command line, and what may have been meant.

Rule: no value of an option is shown, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, get_args, get_origin

from cyclopts import (
    App,
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Token,
    UnknownOptionError,
    ValidationError,
)
from cyclopts.exceptions import UnknownCommandError, UnusedCliTokensError

from everfold.commands.arguments import FLAGS, VALUED, command_words
from everfold.streams.border.values import shown

MEANT_LIMIT = 3

COMMON_WORDS = ("ls", "show", "run", "rm", "add", "set")
"""Commands of many groups: below another one they say nothing about which was meant."""


def mistake_in(error: CycloptsError, app: App, arguments: Sequence[str]) -> str:
    """Return what is wrong, and what to write instead."""
    words = " ".join(command_words(app, arguments))
    match error:
        case UnknownCommandError() if error.unused_tokens:
            return _unknown_command(error.unused_tokens[0], words, app)
        case UnknownOptionError():
            return _unknown_option(error, words)
        case MissingArgumentError() if error.argument is not None:
            return _missing(error, words)
        case CoercionError(token=Token()) if get_origin(error.target_type) is Literal:
            return _no_choice(error)
        case ValidationError(argument=Argument() as argument) if argument.tokens:
            return f"{_name_of(argument, argument.tokens[0])} {error.exception_message}"
        case UnusedCliTokensError() if error.unused_tokens:
            extra = shown(error.unused_tokens[0])
            return f"`{words}` takes no further argument, and {extra} is one; {_page(words)}"
    return without_values(str(error))


def _unknown_command(word: str, words: str, app: App) -> str:
    every = dict(_every_command(app))
    here = [one for one in every if one.startswith(f"{words} ")] if words else list(every)
    depth = len(words.split()) + 1
    known = [one.split()[-1] for one in here if len(one.split()) == depth]
    if word.startswith("-"):
        if word.partition("=")[0] in VALUED | FLAGS or word.startswith("-n"):
            missing = "a command is missing: `everfold help` lists them"
            return f"`{words}` needs one of its commands: {', '.join(known)}" if words else missing
        name = without_values(word)
        return f"there is no option {name} before the command; write a command's options behind it"
    said = f"there is no command {shown(f'{words} {word}'.strip())}"
    if near := _near(word, known):
        return f"{said}; did you mean `{f'{words} {near}'.strip()}`?"
    if not words and word == "version":
        return f"{said}; did you mean `everfold --version`?"
    elsewhere = [one for one in every if one.split()[-1] == word][:MEANT_LIMIT]
    if elsewhere and (not words or word not in COMMON_WORDS):
        return f"{said}; did you mean {' or '.join(f'`{one}`' for one in elsewhere)}?"
    if words:
        return f"{said}; there are {', '.join(known)}"
    return f"{said}; `everfold help` lists all commands"


def _unknown_option(error: UnknownOptionError, words: str) -> str:
    given = (error.token.keyword or error.token.value).partition("=")[0]
    names = [name for one in error.argument_collection if one.parse for name in one.names]
    said = f"`{words}` has no option {given}" if words else f"there is no option {given}"
    long = [name.removeprefix("--") for name in names if name.startswith("--")]
    if near := _near(given.lstrip("-"), long):
        return f"{said}; did you mean --{near}?"
    return f"{said}; {_page(words)}"


def _missing(error: MissingArgumentError, words: str) -> str:
    argument = error.argument
    assert argument is not None
    name = argument.name
    help_text = re.split(r"(?<=\.) ", argument.parameter.help or "")[0].rstrip(".")
    meaning = f": {help_text[:1].lower()}{help_text[1:]}" if help_text else ""
    if argument.index is not None:
        return f"`{words}` needs {name.lstrip('-').upper()}{meaning}; {_page(words)}"
    return f"{name} of `{words}` needs a value{meaning}; {_page(words)}"


def _no_choice(error: CoercionError) -> str:
    token, choices = error.token, [str(one) for one in get_args(error.target_type)]
    assert token is not None
    name = _name_of(error.argument, token)
    origin = f" (from {token.source})" if token.source not in ("", "cli") else ""
    near = f"did you mean {meant}? " if (meant := _near(token.value, choices)) else ""
    said = f"{name} {shown(token.value)}{origin} is not usable"
    return f"{said}: {near}choose from {', '.join(choices)}"


def _name_of(argument: Argument | None, token: Token) -> str:
    """Return how a person named it: the option as it was written, or what stands in its place."""
    return token.keyword or (argument.name.lstrip("-").upper() if argument else "the argument")


def _page(words: str) -> str:
    return f"see `{f'everfold help {words}'.strip()}`"


def _near(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word.lower()[:100], known, n=1, cutoff=0.6)), "")


def _every_command(app: App, above: str = "") -> Iterator[tuple[str, App]]:
    for name in app:
        if not name.startswith("-"):
            words = f"{above} {name}".strip()
            yield words, app[name]
            yield from _every_command(app[name], words)


def without_values(sentence: str) -> str:
    """Leave out the value of an option that is not known: it may be a secret's, misspelt."""
    return re.sub(r"(--[\w.-]+=)[^\"'\s]*", r"\1***", sentence)
