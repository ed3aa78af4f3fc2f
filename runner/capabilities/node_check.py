"""Checks one node of a graph: its inputs, their links, values, choices and ranges.

Rule: pure and total. The order and the words are those of `validate_inputs` in ComfyUI 0.3.64.
What a node checks by itself, of which its server tells nothing, passes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from everfold.runner.capabilities.object_info import COMBO, Input, Kind, NodeClass, ObjectInfo

Graph = dict[str, dict[str, object]]
Complaint = dict[str, object]

LONGEST_LIST = 20
"""A list of more choices is not repeated in an error."""

ANY = "*"


class Link(NamedTuple):
    """An input that comes from another node, whose own inputs are to be checked."""

    name: str
    source: str
    value: list[object]
    """As the graph has it."""
    spec: Input


class NodeVerdict(NamedTuple):
    """What is wrong with one node, apart from those that it needs."""

    errors: list[Complaint]
    links: list[Link]
    crash: str = ""
    """What ComfyUI's check raises for this node."""
    crash_type: str = ""
    """The exception's class; empty where nothing is raised."""


def check_node(
    graph: Graph,
    info: ObjectInfo,
    node_id: str,
    own_check: Callable[[str, str, object], str] | None = None,
    is_replaced: Callable[[object], bool] | None = None,
) -> NodeVerdict:
    """Check a node of a known class. Values are converted in place, as ComfyUI stores them.

    Values that `is_replaced` says will be others when they are sent are not checked.
    """
    check = _NodeCheck(graph, info, str(graph[node_id]["class_type"]), own_check, is_replaced)
    try:
        check.run(graph[node_id])
    except Exception as error:  # of what no graph should have, such as a link to nowhere
        return NodeVerdict([], check.links, str(error), type(error).__name__)
    return NodeVerdict(check.errors, check.links)


class _NodeCheck:
    def __init__(
        self,
        graph: Graph,
        info: ObjectInfo,
        class_type: str,
        own_check: Callable[[str, str, object], str] | None,
        is_replaced: Callable[[object], bool] | None,
    ) -> None:
        self._graph, self._info, self._class_type = graph, info, class_type
        self._class: NodeClass = info.classes[class_type]
        self._own_check, self._is_replaced = own_check, is_replaced
        self.errors: list[Complaint] = []
        self.links: list[Link] = []

    def run(self, node: dict[str, object]) -> None:
        inputs = node["inputs"]
        given = inputs if isinstance(inputs, dict) else {}
        for spec in self._class.inputs.values():
            if spec.name in given:
                self._input(spec, given)
            elif spec.name in self._class.required_names:
                extra: dict[str, object] = {"input_name": spec.name}
                self._add("required_input_missing", "Required input is missing", spec.name, extra)

    def _input(self, spec: Input, given: dict[str, object]) -> None:
        value = given[spec.name]
        if self._is_replaced is not None and self._is_replaced(value):
            return
        if isinstance(value, list):
            self._link(spec, value)
            return
        if isinstance(value, dict) and "__value__" in value:
            given[spec.name] = value = value["__value__"]
        try:
            given[spec.name] = value = _converted(spec.kind, value)
        except Exception as error:
            words = f"Failed to convert an input value to a {spec.kind} value"
            extra = {**self._extra(spec, value), "exception_message": str(error)}
            details = f"{spec.name}, {value}, {error}"
            self._add("invalid_input_type", words, details, extra)
            return
        if not spec.is_open and not self._class.is_custom:
            self._range_and_choices(spec, value)
        elif self._own_check is not None:
            why = self._own_check(self._class_type, spec.name, value)
            if why:
                words = "Custom validation failed for node"
                extra = {"input_name": spec.name}
                self._add("custom_validation_failed", words, f"{spec.name} - {why}", extra)

    def _link(self, spec: Input, value: list[object]) -> None:
        if len(value) != 2:
            words = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            self._add("bad_linked_input", words, spec.name, self._extra(spec, value))
            return
        received = self._received(value)
        if not self._fits(received, spec):
            received_type, wanted = self._shown(received), self._shown(spec.kind)
            details = f"{spec.name}, received_type({received_type}) mismatch input_type({wanted})"
            extra: dict[str, object] = {
                "input_name": spec.name,
                "input_config": config_of(self._info, spec),
                "received_type": received_type,
                "linked_node": value,
            }
            words = "Return type mismatch between linked nodes"
            self._add("return_type_mismatch", words, details, extra)
            return
        self.links.append(Link(spec.name, str(value[0]), value, spec))

    def _received(self, link: list[object]) -> Kind:
        """Return the type that comes over a link; raise what ComfyUI raises for a bad one."""
        source, slot = cast("tuple[str, int]", link)  # else it raises
        class_type = str(self._graph[source]["class_type"])
        return self._info.classes[class_type].returns[slot]

    def _fits(self, received: Kind, spec: Input) -> bool:
        wanted = spec.kind
        if received == wanted or ANY in (received, wanted) or self._class.is_custom:
            return True
        if isinstance(received, int) or isinstance(wanted, int):
            return self._shown(received) == self._shown(wanted)
        if received.startswith("COMFY_"):
            return True
        return not _types(received).isdisjoint(_types(wanted))

    def _range_and_choices(self, spec: Input, value: object) -> None:
        least, most = spec.options.get("min"), spec.options.get("max")
        is_less = least is not None and value < least  # type: ignore[operator]
        is_more = most is not None and value > most  # type: ignore[operator]
        if is_less:
            words = f"Value {value} smaller than min of {least}"
            self._add("value_smaller_than_min", words, spec.name, self._extra(spec, value))
        elif is_more:
            words = f"Value {value} bigger than max of {most}"
            self._add("value_bigger_than_max", words, spec.name, self._extra(spec, value))
        elif spec.choices is not None:
            self._choice(spec, value, spec.choices)

    def _choice(self, spec: Input, value: object, place: int) -> None:
        allowed = self._info.lists[place]
        if value in allowed:
            return
        is_long = len(allowed) > LONGEST_LIST
        shown = f"(list of length {len(allowed)})" if is_long else str(list(allowed))
        extra = self._extra(spec, value)
        if is_long:
            extra["input_config"] = None
        details = f"{spec.name}: '{value}' not in {shown}"
        self._add("value_not_in_list", "Value not in list", details, extra)

    def _extra(self, spec: Input, value: object) -> dict[str, object]:
        return {
            "input_name": spec.name,
            "input_config": config_of(self._info, spec),
            "received_value": value,
        }

    def _shown(self, kind: Kind) -> object:
        return list(self._info.lists[kind]) if isinstance(kind, int) else kind

    def _add(self, kind: str, message: str, details: str, extra: dict[str, object]) -> None:
        self.errors.append(complaint(kind, message, details, extra))


def complaint(
    kind: str, message: str, details: str, extra: Mapping[str, object] | None = None
) -> Complaint:
    """Return an error as ComfyUI writes it."""
    return {
        "type": kind,
        "message": message,
        "details": details,
        "extra_info": dict(extra or {}),
    }


def config_of(info: ObjectInfo, spec: Input) -> tuple[object, object]:
    """Return type and options of an input as ComfyUI repeats them in its errors."""
    kind, options = spec.kind, dict(spec.options)
    if kind == COMBO and spec.choices is not None:
        options["options"] = list(info.lists[spec.choices])
    return list(info.lists[kind]) if isinstance(kind, int) else kind, options


def _types(kind: str) -> set[str]:
    return {one.strip() for one in kind.split(",")}


def _converted(kind: Kind, value: object) -> object:
    """Return the value as ComfyUI stores it. Raises whatever Python raises for it."""
    match kind:
        case "INT":
            return int(value)  # type: ignore[call-overload]
        case "FLOAT":
            return float(value)  # type: ignore[arg-type]
        case "STRING":
            return str(value)
        case "BOOLEAN":
            return bool(value)
    return value
