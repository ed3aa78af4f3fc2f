"""What a job sends to its backend: its graph and, where there is any, the extra_data beside it.

Rule: pure. A graph without extra_data is stored as it is; with some, both are stored as one JSON
object, the body. Either is stored by the SHA-256 of its bytes. Keys for partner nodes are taken
out of extra_data and are in neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import msgspec
from msgspec import Struct

from everfold.streams.border.sealed_form import content_text
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import InvalidName, TooLarge
from everfold.streams.events.json_text import NotJson, decoder, read_json
from everfold.streams.events.json_values import write_json
from everfold.streams.events.limits import EXTRA_DATA_LIMIT_BYTES, PARTNER_KEY_LIMIT
from everfold.streams.events.needs import Needs, needs_of
from everfold.streams.events.workflow_check import CheckedWorkflow, check_workflow

PARTNER_KEYS = ("api_key_comfy_org", "auth_token_comfy_org")
"""Names under which ComfyUI takes keys for its partner nodes in extra_data."""

LEAST_KEY = 8
"""Characters; a shorter one could not be found and masked in what a server says."""

TARGETS = "partial_execution_targets"
"""In extra_data: the output nodes to be run, which ComfyUI takes beside it."""

OURS = ("client_id", "everfold")
"""What Everfold sends of its own; a caller's is left out."""

PartnerKeys = Mapping[str, Secret]


class Body(Struct, frozen=True):
    """A graph and its extra_data, as JSON."""

    extra_data: msgspec.Raw
    workflow: msgspec.Raw


class Given(Struct, frozen=True):
    """What was given beside a graph, checked."""

    extra_data: dict[str, object]
    partner_keys: PartnerKeys


_read = decoder(Body)
_read_object = decoder(dict[str, object])


def check_given(extra_data: object, partner_keys: object, nodes: Collection[str]) -> Given:
    """Return extra_data and partner keys, the latter also where they stood in extra_data.

    `nodes` are the graph's. Raises InvalidName for what ComfyUI would not take, TooLarge above
    EXTRA_DATA_LIMIT_BYTES. No error holds a key.
    """
    extra, keys = _plain(extra_data), _checked_keys(partner_keys)
    for name in PARTNER_KEYS:
        value = extra.pop(name, None)
        if value is not None:
            inner = _checked_keys({name: value})[name]
            if keys.setdefault(name, inner) != inner:
                raise InvalidName("partner_keys", name, "extra_data holds another one")
    for name in OURS:
        extra.pop(name, None)
    targets = extra.get(TARGETS)
    if targets is None:
        extra.pop(TARGETS, None)
    elif not isinstance(targets, list) or not targets:
        raise InvalidName(TARGETS, targets, "pass a list of node ids")
    elif odd := [node for node in targets if not isinstance(node, str) or node not in nodes]:
        raise InvalidName(TARGETS, odd[0], "the graph has no such node")
    return Given(extra, keys)


def targets_of(extra_data: object) -> list[object] | None:
    """Return the nodes that alone are run; None for all, and for what `check_given` refuses."""
    found = extra_data.get(TARGETS) if isinstance(extra_data, Mapping) else None
    return found if isinstance(found, list) and found else None


def _plain(extra_data: object) -> dict[str, object]:
    if extra_data is None:
        return {}
    # Neither error names the value: it may hold a key.
    if not isinstance(extra_data, Mapping) or not all(isinstance(name, str) for name in extra_data):
        kind = type(extra_data).__name__
        raise InvalidName("extra_data", kind, "pass a mapping of names to JSON values")
    try:
        encoded = write_json(extra_data)
    except NotJson as error:
        what = "extra_data cannot be written as JSON"
        raise InvalidName("extra_data", "that value", f"{what}: {error}") from None
    if len(encoded) > EXTRA_DATA_LIMIT_BYTES:
        raise TooLarge("the extra_data", len(encoded), EXTRA_DATA_LIMIT_BYTES)
    return _read_object(encoded)


def _checked_keys(partner_keys: object) -> dict[str, Secret]:
    if partner_keys is None:
        return {}
    if not isinstance(partner_keys, Mapping):
        kind = type(partner_keys).__name__
        raise InvalidName("partner_keys", kind, "pass a mapping of names to Secret")
    found = dict[str, Secret]()
    for name, value in partner_keys.items():
        if name not in PARTNER_KEYS:  # not shown: it may be the key itself
            raise InvalidName("partner_keys", "a name", f"choose one of {', '.join(PARTNER_KEYS)}")
        if not isinstance(value, Secret | str):
            kind = type(value).__name__
            raise InvalidName("partner_keys", f"{name}: a {kind}", "pass an everfold.Secret")
        text = Secret(value).reveal()
        is_visible = text.isascii() and text.isprintable() and " " not in text
        if not is_visible or not LEAST_KEY <= len(text) <= PARTNER_KEY_LIMIT:
            rule = f"a key has {LEAST_KEY} to {PARTNER_KEY_LIMIT:,} visible ASCII characters"
            raise InvalidName("partner_keys", name, rule)
        found[name] = Secret(text)
    return found


def body_of(graph: CheckedWorkflow, extra_data: Mapping[str, object]) -> CheckedWorkflow:
    """Return what is stored: the graph, or the body of graph and extra_data."""
    if not extra_data:
        return graph
    extra = write_json(extra_data, "deterministic")
    content = b'{"extra_data":%b,"workflow":%b}' % (extra, graph.json)
    return CheckedWorkflow(content, hashlib.sha256(content).hexdigest())


def read_body(stored: bytes) -> Body:
    """Return the parts of a stored body. Raises NotJson, a ValueError."""
    return _read(stored)


def graph_of(stored: bytes) -> dict[str, object]:
    """Return the graph of what a job stored; {} where it cannot be read."""
    try:
        is_body = _is_body(stored.decode(errors="replace"))
        graph = read_json(bytes(read_body(stored).workflow) if is_body else stored)
    except NotJson:
        return {}
    return graph if isinstance(graph, dict) else {}


def needs_in(
    graph: CheckedWorkflow, labels: Collection[str], targets: Collection[object] | None
) -> Needs:
    """Return what a job needs of a server, of whose graph `targets` alone are run, where given."""
    if targets is None:
        return graph.needs.with_labels(labels)
    return needs_of(_read_object(graph.json), labels, targets)


def stored_needs(stored: bytes, labels: Collection[str]) -> Needs:
    """Return the same by what a job stored; the labels alone where that cannot be read."""
    graph, extra_data = graph_of(stored), None
    if graph and _is_body(stored.decode(errors="replace")):
        extra_data = read_json(bytes(read_body(stored).extra_data))
    return needs_of(graph, labels, targets_of(extra_data))


def check_stored(text: str) -> None:
    """Check a graph or a body that another program may have written; one that is sealed is checked
    by those who open it. Raises Refused."""
    if content_text(text.encode()):
        return
    if not _is_body(text):
        check_workflow(text)
        return
    body = read_body(text.encode())
    workflow = bytes(body.workflow)
    check_workflow(workflow)
    given = check_given(_read_object(bytes(body.extra_data)), None, _read_object(workflow))
    if given.partner_keys:
        raise InvalidName("extra_data", "this one", "it must not hold keys for partner nodes")


def _is_body(text: str) -> bool:
    """Tell a body from a graph, whose nodes could have these two names."""
    try:
        found = read_json(text)
    except NotJson:
        return False
    if not isinstance(found, dict) or set(found) != set(Body.__struct_fields__):
        return False
    graph = found["workflow"]
    return isinstance(graph, dict) and not isinstance(graph.get("class_type"), str)
