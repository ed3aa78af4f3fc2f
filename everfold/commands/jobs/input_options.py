"""The options of a submit that give files for inputs of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from everfold.assets.input_rules import InputRules
from everfold.commands.numbers import at_most, duration, number
from everfold.streams.errors import InvalidName
from everfold.streams.events.limits import FETCH_LIMIT_BYTES, FETCH_WITHIN_S, INPUT_LIMIT_BYTES

INPUTS = Group("Input files", sort_key=3)


@Parameter(name="*", group=INPUTS)
@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Files that the job sends to its server."""

    input: Annotated[
        list[str] | None,
        at_most(
            "inputs",
            "A file for an input of the graph, as NODE.INPUT=FILE: 10.image=photo.png. FILE is a "
            "path, a URL, or everfold:ID for one that is stored. Repeat the option for more.",
        ),
    ] = None
    allow_private: Annotated[
        bool, Parameter(help="URLs may lead into private networks.", negative="")
    ] = False
    input_limit_bytes: Annotated[int, number("input_limit_bytes", "The most bytes of a file.")] = (
        INPUT_LIMIT_BYTES
    )
    fetch_limit_bytes: Annotated[
        int, number("fetch_limit_bytes", "The most bytes of a file from a URL.")
    ] = FETCH_LIMIT_BYTES
    fetch_within: Annotated[
        float, duration("fetch_within_s", "How long reading one URL may take.")
    ] = FETCH_WITHIN_S

    def given(self) -> dict[str, str] | None:
        """Return the file for each place. Raises InvalidName."""
        found = dict[str, str]()
        for text in self.input or ():
            place, equals, file = text.partition("=")
            if not equals or not place or not file:
                raise InvalidName("--input", text, "write it as NODE.INPUT=FILE")
            if place in found:
                raise InvalidName("--input", place, "it is given a file twice")
            found[place] = file
        return found or None

    def rules(self) -> InputRules:
        """Return what is taken as a file."""
        return InputRules(
            allow_private=self.allow_private,
            limit_bytes=self.input_limit_bytes,
            fetch_limit_bytes=self.fetch_limit_bytes,
            fetch_within_s=self.fetch_within,
        )


NO_INPUTS = InputOptions()
