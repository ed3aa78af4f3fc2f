"""JSON that somebody else may have written is decoded where every error of decoding is caught."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source_tree import PACKAGES, Module, modules

SOURCES = modules(*PACKAGES)

DECODES = {
    "everfold.runner.capabilities.object_info",
    "everfold.streams.events.json_text",
    "everfold.streams.events.codec",
    "everfold.runner.comfyui.large_bodies",
    "everfold.runner.loose_json",
    "everfold.runner.comfyui.messages",
}
"""They catch UNDECODABLE, and bound the nesting themselves."""

STAND_IN = "everfold.simulator"
"""It falls over what ComfyUI falls over."""

RAW = {"json.load", "json.loads", "JSONDecoder", "msgspec.json.decode", "msgspec.json.Decoder"}
IMPORTED = {*RAW, "msgspec.json.decode", "msgspec.json.Decoder", "msgspec.convert"}


def raw_decoding(module: Module) -> Iterator[str]:
    """Yield the decoders of JSON that a module uses or imports itself."""
    yield from (name for name in module.imports() if name in IMPORTED)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node)) in RAW:
            yield name


def catches_everything(module: Module) -> bool:
    caught = [n.type for n in ast.walk(module.tree) if isinstance(n, ast.ExceptHandler) and n.type]
    return any(ast.unparse(kind) in ("UNDECODABLE", "NOT_READ", "Exception") for kind in caught)


def test_only_a_few_modules_decode_json_themselves() -> None:
    found = {m.name: names for m in SOURCES if (names := list(raw_decoding(m)))}
    others = {n: names for n, names in found.items() if not n.startswith(STAND_IN)}
    assert others.keys() == DECODES, others


def test_the_modules_that_decode_catch_whatever_decoding_raises() -> None:
    assert [m.name for m in SOURCES if m.name in DECODES and not catches_everything(m)] == []


def test_nobody_catches_only_a_part_of_what_decoding_raises() -> None:
    partly = {"msgspec.MsgspecError", "msgspec.DecodeError", "MsgspecError", "RecursionError"}
    found = [
        f"{module.path}:{node.lineno}"
        for module in SOURCES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and node.type
        and module.name not in DECODES
        and partly & set(map(ast.unparse, ast.walk(node.type)))
    ]
    assert found == []


# The checks themselves.


def test_a_raw_decoder_is_found_however_it_is_imported() -> None:
    text = (
        "import json, msgspec\nfrom msgspec.json import Decoder\nfrom json import loads\n"
        "a = json.loads(b)\nc = msgspec.json.decode(b)\nd = b.decode()"
    )
    assert sorted(raw_decoding(Module("a", text))) == [
        "json.loads", "json.loads", "msgspec.json.Decoder", "msgspec.json.decode",
    ]  # fmt: skip
    assert not catches_everything(Module("a", "try: pass\nexcept ValueError: pass"))
    assert catches_everything(Module("a", "try: pass\nexcept UNDECODABLE: pass"))
