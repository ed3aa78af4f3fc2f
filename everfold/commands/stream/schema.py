"""`everfold schema`: prints the contracts of the log and of the gateway for other programs."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from everfold.commands.options import chosen
from everfold.contract import documents
from everfold.contract.json_schema import EVENT_TYPES
from everfold.projector.subscribing.delivery import no_such_type
from everfold.streams.errors import Misconfigured, Unknown

schema = App(
    name="schema", help="Print the contracts of log and gateway, for programs in any language."
)


@schema.command(name="json")
def json_schema(
    event_type: Annotated[
        str | None, chosen("An event's type, such as job.succeeded. Default: all.")
    ] = None,
    /,
) -> None:
    """Print the JSON Schema (2020-12) of all events, or of one."""
    if event_type and event_type not in EVENT_TYPES:
        raise Unknown(no_such_type(event_type))
    sys.stdout.write(documents.json_schema(event_type or ""))


@schema.command
def asyncapi() -> None:
    """Print an AsyncAPI 3.0 document of the log: its keys, its entries, and who writes them."""
    sys.stdout.write(documents.asyncapi())


@schema.command
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the gateway: its routes, and what they take and answer."""
    # Here, because it needs the extra `server`.
    try:
        from everfold.web.openapi.route import openapi_text
    except ImportError as error:
        raise Misconfigured(
            "the gateway's packages are not installed: pip install 'everfold[server]'"
        ) from error
    sys.stdout.write(openapi_text())


@schema.command
def script(
    name: Annotated[str, Parameter(help="The script's name, such as append or claim.")], /
) -> None:
    """Print one of the log's Lua scripts as the server gets it, with its included pieces."""
    try:
        sys.stdout.write(documents.script(name))
    except FileNotFoundError as error:
        raise Unknown(f"there is no script {name!r}; they are the files of streams/lua") from error
