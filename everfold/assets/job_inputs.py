"""Takes the files that a job is given for inputs of its graph, and those that its graph names.

Rule: all of them are checked before the first is stored. A given file becomes an asset of the job's
user, which its graph then names; an asset of another user is one that nobody knows.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
import msgspec
from msgspec import Struct

from everfold.assets.fetching import fetch, is_url
from everfold.assets.input_rules import InputRules
from everfold.streams.assets.asset import INPUT_KEEP_S, Asset
from everfold.streams.assets.asset_store import AssetStore, Source
from everfold.streams.assets.graph_inputs import (
    Reference,
    find_references,
    has_reference,
    names_files,
    reference_of,
)
from everfold.streams.assets.listing import find_by_hash
from everfold.streams.border.values import shown
from everfold.streams.errors import AssetUnknown, HashMismatch, InputRefused, InvalidName, TooLarge
from everfold.streams.events.event import AssetInput
from everfold.streams.events.json_text import decoder
from everfold.streams.events.limits import INPUTS_LIMIT
from everfold.streams.events.workflow_check import CheckedWorkflow, check_workflow

STAND_IN = "everfold:00000000-0000-0000-0000-000000000000"
"""Stands in a graph that is checked for a file that is not stored yet."""

Given = str | bytes | Path | Asset
"""A file for an input: its bytes, its path, a URL, an asset, or a text that names one."""

_read_graph = decoder(dict[str, dict[str, object]])


class JobInputs(Struct, frozen=True):
    """A graph and the files that it names."""

    graph: CheckedWorkflow
    inputs: dict[str, AssetInput]


class GivenInputs:
    """The files of one submit: `check` first, then `take`."""

    def __init__(self, graph: CheckedWorkflow, given: object, rules: InputRules) -> None:
        self._rules = rules
        self._given = _mapping({} if given is None else given)
        self._nodes = _read_graph(graph.json) if self._given or names_files(graph.json) else {}
        self.draft = graph
        """The graph with a stand-in for each file that is given, to be checked."""
        if self._given:
            for place in self._given:
                self._check_place(place)
            self.draft = self._with(dict.fromkeys(self._given, STAND_IN))

    @property
    def is_empty(self) -> bool:
        """Whether the job sends no file."""
        return not self._given and not find_references(self._nodes)

    async def check(self) -> None:
        """Check what is given. Raises InputRefused, which names the input."""
        for place, value in self._given.items():
            if isinstance(value, Path) or (isinstance(value, str) and _is_path(value)):
                await anyio.to_thread.run_sync(self._check_file, place, value)
            elif isinstance(value, bytes | bytearray | memoryview):
                self._check_size(place, len(value))
            elif not isinstance(value, str | Asset):
                why = "pass its bytes, a path, a URL or an asset"
                raise InputRefused(
                    place, f"a value of type {type(value).__name__} is no file; {why}"
                )
        for one in _once(find_references(self._nodes)):
            if one.fault and one.place not in self._given:
                raise InputRefused(one.place, one.fault)

    async def take(self, store: AssetStore, user: str) -> JobInputs:
        """Store what is given, find what is named, and return the graph with all of it.

        What was stored stays for INPUT_KEEP_S where the submit fails later. Raises InputRefused,
        QuotaFull, and a leaf of Unavailable.
        """
        names, stored = dict[str, str](), dict[str, str]()
        for place, value in self._given.items():
            key = str(value) if isinstance(value, str | Path) else ""
            names[place] = stored.get(key) or await self._stored(store, user, place, value)
            if key:
                stored[key] = names[place]
        graph = self._with(names) if names else self.draft
        found = dict[str, AssetInput]()
        for one in _once(find_references(_read_graph(graph.json))):
            found[one.place] = await named_input(store, user, one)
        if len(found) > INPUTS_LIMIT:
            raise TooLarge("the list of inputs", len(found), INPUTS_LIMIT, "files")
        return JobInputs(graph, found)

    def _check_place(self, place: str) -> None:
        node, name = self._split(place)
        old = _inputs_of(self._nodes[node])[name]
        if not (old is None or isinstance(old, str) or has_reference(old)):
            link = isinstance(old, list) and len(old) == 2 and str(old[0]) in self._nodes
            what = "it is linked to another node" if link else f"the graph has {shown(old)} there"
            raise InputRefused(place, f"{what}, and no name of a file")

    def _split(self, place: str) -> tuple[str, str]:
        """Return node and input. Raises InputRefused for what the graph does not have."""
        cuts = [at for at, letter in enumerate(place) if letter == "."]
        for node, name in ((place[:at], place[at + 1 :]) for at in cuts):
            if name in _inputs_of(self._nodes.get(node)):
                return node, name
        node = place.partition(".")[0]
        if not cuts:
            raise InputRefused(place, "write it as NODE.INPUT, such as 10.image")
        if node not in self._nodes:
            raise InputRefused(place, f"the graph has no node {shown(node)}")
        names = ", ".join(sorted(_inputs_of(self._nodes[node]))[:20])
        raise InputRefused(place, f"node {node} has no such input; it has {names or 'none'}")

    def _with(self, names: Mapping[str, str]) -> CheckedWorkflow:
        nodes = {node: dict(value) for node, value in self._nodes.items()}
        for place, text in names.items():
            node, name = self._split(place)
            nodes[node]["inputs"] = {**_inputs_of(nodes[node]), name: text}
        return check_workflow(msgspec.json.encode(nodes))

    def _check_file(self, place: str, value: str | Path) -> None:
        try:
            path = _path(value)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise InputRefused(place, f"{shown(str(value))} is no file that can be sent")
            with path.open("rb"):
                pass
        except (OSError, ValueError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            hint = "" if isinstance(value, Path) else "; pass a path, http(s)://... or everfold:ID"
            raise InputRefused(place, f"{shown(str(value))} cannot be read: {why}{hint}") from None
        self._check_size(place, found.st_size)

    def _check_size(self, place: str, size_bytes: int) -> None:
        if size_bytes > self._rules.limit_bytes:
            limit = f"the limit is {self._rules.limit_bytes:,}"
            raise InputRefused(place, f"it has {size_bytes:,} bytes; {limit}")

    async def _stored(self, store: AssetStore, user: str, place: str, value: object) -> str:
        """Return what the graph has to say for a given file, which is stored first."""
        if isinstance(value, Asset):
            return f"everfold:{value.id}"
        if isinstance(value, str) and (named := reference_of(value)) is not None:
            return f"everfold:{named.asset}" if named.asset else named.hash
        async with self._source(place, value) as (source, name, size_bytes):
            try:
                stored = await store.put(
                    source,
                    name=name,
                    owner=user,
                    keep_s=INPUT_KEEP_S,
                    expected_bytes=size_bytes,
                    most_bytes=self._rules.limit_bytes,
                )
            except (TooLarge, InvalidName, HashMismatch) as error:
                raise InputRefused(place, str(error)) from error
        return f"everfold:{stored.asset.id}"

    @asynccontextmanager
    async def _source(
        self, place: str, value: object
    ) -> AsyncIterator[tuple[Source, str, int | None]]:
        """Open a given file: what to read, its name, and its size as far as it is known."""
        if isinstance(value, str) and is_url(value):
            async with fetch(place, value, self._rules) as fetched:
                yield fetched.chunks, fetched.name, fetched.size_bytes
        elif isinstance(value, str | Path):
            path = _path(value)
            yield path, path.name, await anyio.to_thread.run_sync(_size, path)
        else:
            assert isinstance(value, bytes | bytearray | memoryview)
            yield bytes(value), place.rpartition(".")[2], len(value)


def _path(value: str | Path) -> Path:
    return Path(value).expanduser()


def _size(path: Path) -> int | None:
    """Return how large a file is; None where that cannot be read, as reading it will tell."""
    try:
        return path.stat().st_size
    except OSError:
        return None


async def named_input(store: AssetStore, user: str, one: Reference) -> AssetInput:
    """Return the asset that a graph names, kept for a while. Raises InputRefused."""
    if one.fault:
        raise InputRefused(one.place, one.fault)
    what = f"everfold:{one.asset}" if one.asset else one.hash
    unknown = InputRefused(one.place, f"there is no asset {what}")
    try:
        found = (
            await store.get(one.asset)
            if one.asset
            else await find_by_hash(store, user or None, one.hash)
        )
        if found is None or (user and found.owner not in ("", user)):
            raise unknown
        found = await store.keep(found.id, INPUT_KEEP_S)
    except AssetUnknown:
        raise unknown from None
    return AssetInput(
        asset=found.id,
        hash=found.hash,
        size_bytes=found.size_bytes,
        media_type=found.media_type,
        name=found.name,
    )


def _mapping(given: object) -> Mapping[str, object]:
    rule = 'pass a mapping such as {"10.image": "photo.png"}'
    if not isinstance(given, Mapping):
        raise InvalidName("inputs", given, rule)
    try:
        pairs = list(given.items())
    except Exception as error:  # an object of the caller's own may raise anything
        raise InvalidName("inputs", given, f"it cannot be read: {type(error).__name__}") from error
    if not all(isinstance(place, str) for place, _ in pairs):
        raise InvalidName("inputs", given, rule)
    if len(pairs) > INPUTS_LIMIT:
        raise TooLarge("the list of inputs", len(pairs), INPUTS_LIMIT, "files")
    # A text of a caller's own type may do anything.
    return {
        str.__str__(place): str.__str__(value) if isinstance(value, str) else value
        for place, value in pairs
    }


def _is_path(text: str) -> bool:
    return not is_url(text) and reference_of(text) is None


def _inputs_of(node: Mapping[str, object] | None) -> Mapping[str, object]:
    inputs = node.get("inputs") if node is not None else None
    return inputs if isinstance(inputs, Mapping) else {}


def _once(references: list[Reference]) -> list[Reference]:
    """Return the references, if each has a place of its own. Raises InputRefused."""
    seen = set[str]()
    for one in references:
        if one.place in seen:
            raise InputRefused(one.place, "the graph has two inputs that are written like this")
        seen.add(one.place)
    return references
