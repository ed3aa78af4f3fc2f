"""The files that a job's outputs name, and the outputs once those files are stored.

Rule: pure. A reference is an object with a text `filename`, inside a list, as ComfyUI's `images`,
`gifs`, `video`, `audio`, `latents`, `3d` and `files` hold them; every other value stays as it is.
Names are a server's own words: it is asked for them as they are, and no path is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from everfold.runner.backend import OutputFile, SentPictures
from everfold.streams.assets.asset import Asset, safe_name
from everfold.streams.events.event import Outputs
from everfold.streams.events.limits import NESTING_LIMIT, OUTPUT_LIMIT_BYTES
from everfold.streams.events.shortening import without_large_fields

Why = Literal["gone", "unreachable", "too_large", "quota", "store_full", "missed", "skipped"]
"""Why a file is not stored, as a reference says it."""

SENT = "websocket"
"""The `type` of a picture that came over the connection and is no file of the server."""

CLAIMS = frozenset(("asset", "hash", "thumbnail", "stored", "why"))
"""Fields of a reference that no server may write: they say which stored file it is."""

FILES_LIMIT = 2_000
"""Files of one job that are stored."""

STORED_FIELDS_BYTES = 1_000
"""What a stored file's fields need in an event besides those that the server gave."""

FILENAME_LIMIT, SUBFOLDER_LIMIT = 1_000, 4_000
"""Characters. No file system has longer ones."""

JOB_LIMIT = 64
"""Characters of a job's id in the name of a file."""


class Missing(Struct, frozen=True):
    """A file that is not stored."""

    why: Why


class Plan(Struct, frozen=True):
    """What is to be stored of a job's outputs."""

    files: tuple[OutputFile, ...]
    """Each once, in the order in which the outputs name them."""
    left_out: Mapping[OutputFile, Missing]
    """Files that are not stored, whatever the server and the store say."""
    is_whole: bool
    """False when files are left out that the job's policy means."""


def plan_of(outputs: Outputs, *, previews: bool, event_limit_bytes: int) -> Plan:
    """Return what is to be stored: at most FILES_LIMIT, and as many as an event can name.

    Left out are inputs that an output repeats, temporary files unless `previews`, and names that no
    server can mean: they lead out of its folder, or are too long.
    """
    left_out = dict[OutputFile, Missing]()
    files = dict[OutputFile, None]()
    is_whole, left_bytes = True, event_limit_bytes
    for output in outputs.values():
        node_bytes = OUTPUT_LIMIT_BYTES
        for reference in references(output):
            file = file_of(reference)
            if not _is_wanted(file, previews=previews):
                left_out[file] = Missing("skipped")
                continue
            if file in left_out:
                continue
            size = len(_encode(without_large_fields(reference))) + STORED_FIELDS_BYTES
            is_full = len(files) == FILES_LIMIT or size > min(node_bytes, left_bytes)
            if file not in files and is_full:
                left_out[file], is_whole = Missing("skipped"), False
                continue
            files[file] = None
            node_bytes, left_bytes = node_bytes - size, left_bytes - size
    return Plan(tuple(files), left_out, is_whole)


def collected(
    outputs: Outputs,
    found: Mapping[OutputFile, Asset | Missing],
    thumbnails: Mapping[OutputFile, Asset] = {},
) -> Outputs:
    """Return the outputs with what became of each file: its asset, or why it is not stored.

    What `found` does not name stays as it is, but for the CLAIMS of a server.
    """

    def change(reference: dict[str, object]) -> dict[str, object]:
        told = {key: value for key, value in reference.items() if key not in CLAIMS}
        file = file_of(reference)
        result = found.get(file)
        if result is None:
            return told
        small = thumbnails.get(file)
        thumbnail = {"thumbnail": _bytes_of(small)} if small and isinstance(result, Asset) else {}
        return {**told, **fields_of(result), **thumbnail}

    return {node: _changed_output(output, change) for node, output in outputs.items()}


def with_pictures(outputs: Outputs, files: Mapping[str, Iterable[OutputFile]]) -> Outputs:
    """Return the outputs with the pictures that nodes have sent, as images of those nodes."""
    whole = dict(outputs)
    for node, pictures in files.items():
        output = whole.get(node, {})
        images = output.get("images")
        earlier = images if isinstance(images, list) else []
        references = [
            {"filename": file.filename, "subfolder": "", "type": SENT} for file in pictures
        ]
        whole[node] = {**output, "images": [*earlier, *references]}
    return whole


def pictures_of(
    sent: Mapping[str, SentPictures],
) -> dict[str, dict[OutputFile, bytes | Missing]]:
    """Return what nodes have sent over the connection as files of those nodes, in their order.

    Where some may be missing, the last one stands for them and says why.
    """
    found = dict[str, dict[OutputFile, bytes | Missing]]()
    for node, of_node in sent.items():
        files: dict[OutputFile, bytes | Missing] = {
            _picture_file(node, number, content): content
            for number, content in enumerate(of_node.pictures, 1)
        }
        if of_node.is_cut or not of_node.is_whole:
            why: Why = "too_large" if of_node.is_cut else "missed"
            files[_picture_file(node, len(files) + 1)] = Missing(why)
        if files:
            found[node] = files
    return found


def _picture_file(node: str, number: int, content: bytes = b"") -> OutputFile:
    ending = "jpg" if content.startswith(b"\xff\xd8") else "png"
    return OutputFile(kind=SENT, subfolder="", filename=f"{node}_{number}.{ending}")


def names_of(files: Iterable[OutputFile], job_id: str) -> dict[OutputFile, str]:
    """Return a name for people for each file: the job's id, then that of the file.

    No two are the same, also where a file system takes capital and small letters for equal. The
    same files have the same names, whatever their order.
    """
    names, taken = dict[OutputFile, str](), set[str]()
    job = re.sub(r"[/\\]", "_", job_id)[:JOB_LIMIT]
    for file in sorted(files):
        name, count = named_for(job, file.filename), 1
        stem, dot, ending = name.rpartition(".")
        while name.casefold() in taken:
            count += 1
            name = f"{stem}_{count}.{ending}" if dot else f"{ending}_{count}"
        taken.add(name.casefold())
        names[file] = name
    return names


def named_for(job: str, filename: str) -> str:
    """Return a file's name with the job before it, safe for file systems and headers."""
    return safe_name(f"{job}_{safe_name(filename)}")


def fields_of(result: Asset | Missing) -> dict[str, object]:
    """Return what a reference says of its file beside the server's own words."""
    if isinstance(result, Missing):
        return {"stored": False, "why": result.why}
    return {**_bytes_of(result), "name": result.name}


def _bytes_of(asset: Asset) -> dict[str, object]:
    fields: dict[str, object] = {
        "asset": asset.id,
        "hash": asset.hash,
        "size_bytes": asset.size_bytes,
        "media_type": asset.media_type,
    }
    if asset.width and asset.height:
        fields |= {"width": asset.width, "height": asset.height}
    return fields


def file_of(reference: Mapping[str, object]) -> OutputFile:
    """Return the file that a reference names. Without a type it is an output, as for the server."""
    kind, subfolder = reference.get("type", "output"), reference.get("subfolder", "")
    return OutputFile(
        kind=kind if isinstance(kind, str) else "",
        subfolder=subfolder if isinstance(subfolder, str) else "",
        filename=str(reference.get("filename")),
    )


def _is_wanted(file: OutputFile, *, previews: bool) -> bool:
    return file.kind in (("output", "temp") if previews else ("output",)) and _is_name(file)


def _is_name(file: OutputFile) -> bool:
    """Say whether a server may have such a file: no name leads out of its folders."""
    name, folder = file.filename, file.subfolder
    if not name or len(name) > FILENAME_LIMIT or len(folder) > SUBFOLDER_LIMIT:
        return False
    parts = re.split(r"[/\\]", f"{folder}/{name}")
    is_absolute = re.match(r"[/\\]|[A-Za-z]:", folder) or re.match(r"[/\\]|[A-Za-z]:", name)
    return not is_absolute and ".." not in parts and not _CONTROL.search(f"{folder}{name}")


_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

Change = Callable[[dict[str, object]], dict[str, object]]


def references(output: Mapping[str, object]) -> list[dict[str, object]]:
    """Return what a node says of each file that it names, in its order."""
    found = list[dict[str, object]]()

    def note(reference: dict[str, object]) -> dict[str, object]:
        found.append(reference)
        return reference

    _changed_output(output, note)
    return found


def _changed_output(output: Mapping[str, object], change: Change) -> dict[str, object]:
    return {key: _changed(value, change, 1) for key, value in output.items()}


def _changed(value: object, change: Change, depth: int, *, is_listed: bool = False) -> object:
    """Return a value with each reference in it changed; what is nested too deep stays."""
    if depth > NESTING_LIMIT:
        return value
    if isinstance(value, list):
        return [_changed(one, change, depth + 1, is_listed=True) for one in value]
    if not isinstance(value, dict):
        return value
    if is_listed and isinstance(value.get("filename"), str):
        return change(value)
    return {k: _changed(v, change, depth + 1, is_listed=is_listed) for k, v in value.items()}


_encode = msgspec.json.Encoder().encode
