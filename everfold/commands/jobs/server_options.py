"""The options of a submit that say which servers may run the job."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, TypedDict

from cyclopts import Group, Parameter

from everfold.commands.numbers import at_most

SERVERS = Group("Servers", sort_key=4)


class GivenServers(TypedDict):
    """Arguments of `Everfold.submit`."""

    needs: Collection[str]
    on_missing: str
    validate: bool


@Parameter(name="*", group=SERVERS)
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What a server must have to run the job."""

    needs: Annotated[
        list[str] | None,
        at_most("needs", "A label that the server must have. Repeat the option for more."),
    ] = None
    on_missing: Annotated[
        str,
        Parameter(
            help="What to do when no known server has a node class, model file or label that the "
            "job needs: refuse, or wait until one has it."
        ),
    ] = "refuse"
    validate: Annotated[
        bool, Parameter(help="Check the graph against what the known servers have.")
    ] = True

    def given(self) -> GivenServers:
        """Return them as `Everfold.submit` takes them."""
        return {
            "needs": self.needs or (),
            "on_missing": self.on_missing,
            "validate": self.validate,
        }


ANY_SERVER = ServerOptions()
