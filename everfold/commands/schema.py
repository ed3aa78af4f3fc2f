"""`everfold schema json|asyncapi`: the wire contract, for programs that are not ours."""

from __future__ import annotations

import json
import sys

from cyclopts import App

from everfold.contract.asyncapi import asyncapi as asyncapi_document
from everfold.contract.json_schema import Schema, schema_of, schema_of_all

schema = App(name="schema", help="Print the wire contract: JSON Schema or AsyncAPI.")


@schema.command(name="json")
async def json_schema(event_type: str = "") -> None:
    """Print the JSON Schema of all events, or of one type, such as job.succeeded."""
    _print(schema_of(event_type) if event_type else schema_of_all())


@schema.command
async def asyncapi() -> None:
    """Print the stream as an AsyncAPI 3.0 document."""
    _print(asyncapi_document())


def _print(document: Schema) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
