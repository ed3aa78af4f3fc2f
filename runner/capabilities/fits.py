"""Whether a server can run a job: what the job needs and the server lacks.

Rule: pure. What a server does not tell counts as there: one without a readable object_info can run
anything, and an input that it does not list as choices takes any file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from msgspec import Struct

from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.streams.events.needs import ModelFile, Needs

NEEDS_REMEMBERED = 1_000
"""Of one server; all jobs of one workflow have the same needs."""
NAMES_COMPARED = 5_000
"""Of a longer list the nearest name is looked for among so many only."""
SHOWN_LIMIT = 5
"""Most missing things that one sentence names."""


class MissingClass(Struct, frozen=True):
    """The server has no node of this class."""

    class_type: str

    def __str__(self) -> str:
        return f"node {self.class_type}"


class MissingModel(Struct, frozen=True):
    """The server does not list this file for this input."""

    file: ModelFile

    def __str__(self) -> str:
        return f"model {self.file.name} ({self.file.input} of {self.file.class_type})"


class MissingLabel(Struct, frozen=True):
    """Nobody gave the server this label."""

    label: str

    def __str__(self) -> str:
        return f"label {self.label}"


Missing = MissingClass | MissingModel | MissingLabel


class Server(Struct, frozen=True):
    """One server, as far as it is known."""

    name: str
    info: ObjectInfo | None = None
    """None: it has told nothing that could be read, so it may have everything."""
    labels: frozenset[str] = frozenset()


def missing(
    needs: Needs, info: ObjectInfo | None, labels: Collection[str] = ()
) -> tuple[Missing, ...]:
    """Return what a server lacks of a job's needs; empty where it can run the job."""
    lacks: list[Missing] = [MissingLabel(one) for one in needs.labels if one not in labels]
    if info is not None:
        lacks += [MissingClass(one) for one in needs.classes if one not in info.classes]
        lacks += [MissingModel(file) for file in needs.models if not _has(info, file)]
    return tuple(lacks)


def _has(info: ObjectInfo, file: ModelFile) -> bool:
    node_class = info.classes.get(file.class_type)
    spec = node_class.inputs.get(file.input) if node_class is not None else None
    if spec is None or spec.choices is None or spec.is_open:
        return True  # a missing class is named as such
    return file.name in info.names[spec.choices]


class FitCache:
    """Remembers what one server lacks, for the needs that it was asked about last."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[Missing, ...]] = {}

    def missing(
        self, needs: Needs, info: ObjectInfo | None, labels: Collection[str]
    ) -> tuple[Missing, ...]:
        """Return what the server lacks, as `missing` does; `labels` are always the same."""
        key = (info.hash if info is not None else "", needs.signature)
        if key not in self._found:
            if len(self._found) >= NEEDS_REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[key] = missing(needs, info, labels)
        return self._found[key]


def able(servers: Iterable[Server], needs: Needs) -> list[Server]:
    """Return the servers that can run a job."""
    return [one for one in servers if not missing(needs, one.info, one.labels)]


def why_none(servers: Sequence[Server], needs: Needs) -> str:
    """Return why none of these servers can run a job, with the nearest names there are."""
    lacks = [missing(needs, one.info, one.labels) for one in servers]
    nowhere = [one for one in lacks[0] if all(one in others for others in lacks)] if lacks else []
    if nowhere:
        shown = [_with_nearest(one, servers) for one in nowhere[:SHOWN_LIMIT]]
        return f"no server has {' and '.join(shown)}{_beyond(len(nowhere))}"
    parts = [
        f"{server.name} has no {' and no '.join(map(str, some[:SHOWN_LIMIT]))}{_beyond(len(some))}"
        for server, some in zip(servers, lacks, strict=True)
    ]
    return f"no server has all that it needs: {'; '.join(parts[:SHOWN_LIMIT])}"


def _beyond(count: int) -> str:
    return f" and {count - SHOWN_LIMIT} more" if count > SHOWN_LIMIT else ""


def _with_nearest(one: Missing, servers: Sequence[Server]) -> str:
    found = nearest(one, servers)
    return f"{one} (nearest: {found})" if found else str(one)


def nearest(one: Missing, servers: Iterable[Server]) -> str:
    """Return the name on any server that is most like a missing one; empty where none is."""
    name, names = "", set[str]()
    for server in servers:
        match one:
            case MissingClass(class_type=name):
                names.update(server.info.classes if server.info else ())
            case MissingModel(file=file):
                name = file.name
                names.update(_listed(server.info, file))
            case MissingLabel(label=name):
                names.update(server.labels)
    lower = {known.lower(): known for known in sorted(names)[:NAMES_COMPARED]}
    close = get_close_matches(name.lower(), lower, n=1)
    return lower[close[0]] if close else ""


def _listed(info: ObjectInfo | None, file: ModelFile) -> frozenset[str]:
    node_class = info.classes.get(file.class_type) if info else None
    spec = node_class.inputs.get(file.input) if node_class else None
    return info.names[spec.choices] if info and spec and spec.choices is not None else frozenset()
