"""A cluster's client knows the key of every command that the sources send."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from everfold.streams.nodes.first_key import UnknownCommand, first_key
from everfold.streams.redis.access import COMMANDS, FINDING, OPTIONAL
from tests.architecture.source_tree import PACKAGES, Module, modules

SENT = re.compile(r"[A-Z]{3,}(_RO)?( [A-Z]{3,})?")
"""A command as the sources write it."""

SENDERS = {"command", "execute_command", "execute_together", "enqueue"}
THROUGH = ("redis_errors.command", "redis_errors.commands", "connections.client.LedgerRedis")
"""Modules that import one of these send commands."""

NONE = {"SENTINEL", "BLOCK", "COUNT", "STREAMS", "WITHSCORES"}
"""Sent to a Sentinel only, or words behind a command that stand in a tuple of their own."""


def sent_by(module: Module) -> Iterator[str]:
    """Yield the commands that are arguments of what sends, or begin a tuple or list beside keys."""
    for node in ast.walk(ast.parse(module.text)):
        if isinstance(node, ast.Call) and _name(node.func) in SENDERS:
            yield from (text for text in map(_text, node.args[:2]) if SENT.fullmatch(text))
        elif isinstance(node, ast.Tuple | ast.List) and len(node.elts) > 1:
            first = _text(node.elts[0])
            if SENT.fullmatch(first) and not all(isinstance(e, ast.Constant) for e in node.elts):
                yield first


def _sends(module: Module) -> bool:
    return any(name.endswith(THROUGH) for name in module.imports())


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def unknown(commands: set[str]) -> set[str]:
    found = set[str]()
    for name in commands - NONE:
        try:
            first_key((name, "x", 1, "key", "STREAMS", "key"))
        except UnknownCommand:
            found.add(name)
    return found


def test_each_command_of_the_sources_has_a_key_or_is_known_to_have_none() -> None:
    sending = [module for module in modules(*PACKAGES) if _sends(module)]
    sent = {name for module in sending for name in sent_by(module)}

    assert len(sent) > 30
    assert unknown(sent) == set()


def test_each_command_that_rights_are_asked_for_is_known() -> None:
    named = {name for table in (COMMANDS, OPTIONAL) for names in table.values() for name in names}

    assert unknown({name.upper().replace("|", " ") for name in (*named, *FINDING)}) == set()


def test_a_command_that_nobody_listed_is_found() -> None:
    text = "command(redis, 'LMPOP', 1)\nx = [('MIGRATE', key)]\ny = ('NOT', 'ONE')"

    assert unknown(set(sent_by(Module("everfold.streams.x", text)))) == {"LMPOP", "MIGRATE"}
