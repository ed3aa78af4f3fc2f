"""Builds the OpenAPI 3.1 document from the rows of all contracts.

Rule: what is in no row is not in the document, and what is served is in a row.
Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from everfold.contract.json_schema import CONTRACT_VERSION
from everfold.web.access.request_head import COOKIE
from everfold.web.contracts import CONTRACTS, Contract
from everfold.web.openapi.schemas import Schema, Schemas
from everfold.web.operation import Operation, Parameter
from everfold.web.problem import AWAY_RETRY_S

ABOUT = (
    "A gateway of Everfold: jobs of ComfyUI that outlive any process, behind one address. The same "
    "document is made by `everfold schema openapi`, and served at /openapi.json. Fields that a "
    "program does not know are to be ignored: new ones may appear at any time."
)

PUBLIC: list[Schema] = []
SECURED: list[Schema] = [{"bearer": []}, {"apiKey": []}, {"login": []}]

SCHEMES: Schema = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key that `everfold keys add` has shown: Authorization: Bearer ef_...",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "login": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of a browser that has logged in.",
    },
}

KINDS: dict[type, str] = {int: "integer", float: "number", bool: "boolean", str: "string"}

_IN_PATH = re.compile(r"{(\w+)(?::(\w+))?}")


def openapi_document(contracts: Iterable[Contract] = CONTRACTS) -> Schema:
    """Return the document. Raises Misconfigured where the sources are not installed."""
    shown = [one for one in contracts if one.is_documented]
    schemas = Schemas(_types(shown))
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Everfold's gateway",
            "version": f"{CONTRACT_VERSION}.0.0",
            "description": ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "servers": [
            {"url": "/", "description": "The gateway that this document comes from."},
            {"url": "http://127.0.0.1:8189", "description": "A gateway on this machine."},
        ],
        "tags": [
            {"name": name, "description": about}
            for name, about in {one.name: one.about for one in shown}.items()
        ],
        "security": SECURED,
        "paths": _paths(shown, schemas),
        "components": {
            "securitySchemes": SCHEMES,
            "responses": _responses(shown, schemas),
            "schemas": schemas.parts,
        },
    }


def _types(contracts: Iterable[Contract]) -> Iterator[object]:
    for contract in contracts:
        yield contract.error
        for operation in contract.operations:
            kinds = (operation.body, *operation.answers.values())
            yield from (kind for kind in kinds if kind is not None and not isinstance(kind, str))


def _paths(contracts: Iterable[Contract], schemas: Schemas) -> Schema:
    paths = dict[str, dict[str, object]]()
    for contract in contracts:
        for operation in contract.operations:
            path = _IN_PATH.sub(r"{\1}", contract.under[0] + operation.path)
            item = paths.setdefault(path, {})
            item[operation.method.lower()] = _operation(contract, operation, schemas)
    return dict(paths)


def _operation(contract: Contract, operation: Operation, schemas: Schemas) -> Schema:
    told: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [contract.name],
    }
    if operation.is_public:
        told["security"] = PUBLIC
    else:
        told["x-everfold-role"] = operation.role
    if parameters := [*_parameters(operation)]:
        told["parameters"] = parameters
    if operation.body is not None:
        told["requestBody"] = {
            "required": not operation.is_body_optional,
            "content": _content(operation.body, schemas),
        }
    told["responses"] = {
        **_errors(contract, operation),
        # A row that has a 503 of its own says what is in it.
        **{
            str(status): _response(status, kind, schemas)
            for status, kind in sorted(operation.answers.items())
        },
    }
    return told


def _errors(contract: Contract, operation: Operation) -> Schema:
    if operation.method == "HEAD":
        return {name: {"description": "Not done."} for name in ("4XX", "503")}
    return {
        "4XX": {"$ref": f"#/components/responses/{contract.name}Refused"},
        "503": {"$ref": f"#/components/responses/{contract.name}Away"},
    }


def _parameters(operation: Operation) -> Iterator[Schema]:
    declared = {one.name: one for one in operation.parameters}
    for name, converter in _IN_PATH.findall(operation.path):
        kind = int if converter == "int" else str
        found = declared.pop(name, None) or Parameter(name=name, place="path", kind=kind)
        told = {"description": found.told} if found.told else {}
        yield {"name": name, "in": "path", "required": True, **told, "schema": _schema(found)}
    for one in declared.values():
        told = {"description": one.told} if one.told else {}
        more = {"required": True} if one.is_required else {}
        yield {"name": one.name, "in": one.place, **told, **more, "schema": _schema(one)}


def _schema(parameter: Parameter) -> Schema:
    schema: Schema = {"type": KINDS[parameter.kind]}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.kind is str:
        if parameter.most is not None:
            schema["maxLength"] = parameter.most
    else:
        bounds = {"minimum": parameter.least, "maximum": parameter.most}
        schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    return {"type": "array", "items": schema} if parameter.is_list else schema


def _content(kind: object, schemas: Schemas) -> Schema:
    if not isinstance(kind, str):
        return {"application/json": {"schema": schemas.of(kind)}}
    if kind == "application/json":
        return {kind: {"schema": {"description": "Any JSON."}}}
    if kind.startswith(("multipart/", "application/x-www-form-urlencoded")):
        return {kind: {"schema": {"type": "object"}}}
    return {kind: {"schema": {"type": "string"}}}


def _response(status: int, kind: object, schemas: Schemas) -> Schema:
    told: Schema = {"description": WORDS.get(status, "The answer.")}
    return told if kind is None else {**told, "content": _content(kind, schemas)}


WORDS = {
    101: "The connection is a websocket from here on.",
    200: "Done.",
    201: "Made.",
    202: "Asked for; it is done later.",
    204: "Done; there is nothing to say.",
    206: "A part of it.",
    302: "It is at another address.",
    303: "It is at another address.",
    304: "It has not changed.",
    404: "There is nothing of this name.",
    503: "It cannot be done now.",
}


def _responses(contracts: Iterable[Contract], schemas: Schemas) -> Schema:
    found: Schema = {}
    for contract in contracts:
        content = _content(contract.error, schemas)
        found[f"{contract.name}Refused"] = {
            "description": "Not done; the body says what was wrong, where, and what to do.",
            "content": content,
        }
        found[f"{contract.name}Away"] = {
            "description": "Redis is away, and nothing was done. Ask again.",
            "headers": {
                "Retry-After": {
                    "description": "Seconds.",
                    "schema": {"type": "integer", "minimum": 1, "examples": [AWAY_RETRY_S]},
                }
            },
            "content": content,
        }
    return found
