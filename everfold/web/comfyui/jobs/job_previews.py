"""What of a job's outputs newer front ends count, and the one that stands for the job in a list.

Rule: pure and total; a node may put out anything. A file that was saved comes before a temporary
one, that before a file of text, and that before a text.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

Output = dict[str, object]

SHOWN = ("images", "video", "audio", "3d", "text", "gifs")
"""Lists of a node's output whose files are shown."""
SHOWN_FORMATS = ("video/", "audio/")
"""What the `format` of a file begins with that is shown in whatever list it stands."""
MODELS = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
TEXTS = (".txt", ".md", ".json")
"""Ends of the names of files that are shown in whatever list they stand."""
FLAG, TEXT = "animated", "text"
TEXT_LIMIT = 1_024
"""Characters of a text that stands for a job."""


class JobPreviews(Struct, frozen=True):
    """What a list of jobs says of one job's outputs."""

    count: int
    shown_count: int
    best: Output | None


def previews_of(outputs: Mapping[str, Mapping[str, object]]) -> JobPreviews:
    """Return what there is to be shown of outputs: node -> what it has put out."""
    files, texts = list[Output](), list[Output]()
    for node, output in outputs.items():
        for kind, values in output.items():
            if kind == FLAG or not isinstance(values, list):
                continue
            about = {"nodeId": node, "mediaType": kind}
            files += [{"mediaType": kind, **one, "nodeId": node} for one in _objects(values)]
            if kind == TEXT:
                texts += [{**_text(one), **about} for one in values if isinstance(one, str)]
    shown = [one for one in files if _is_shown(one)]
    best = next(iter([*sorted(shown, key=_rank), *texts]), None)
    return JobPreviews(len(files), len(shown), best)


def _objects(values: list[object]) -> list[Output]:
    return [one for one in values if isinstance(one, dict)]


def _text(text: str) -> Output:
    if len(text) <= TEXT_LIMIT:
        return {"content": text}
    return {"content": text[:TEXT_LIMIT], "truncated": True}


def _is_shown(file: Output) -> bool:
    is_shown = file["mediaType"] in SHOWN or str(file.get("format")).startswith(SHOWN_FORMATS)
    return is_shown or _name(file).endswith((*MODELS, *TEXTS))


def _rank(file: Output) -> int:
    if file["mediaType"] == TEXT or _name(file).endswith(TEXTS):
        return 2
    return 0 if file.get("type") == "output" else 1


def _name(file: Output) -> str:
    return str(file.get("filename", "")).lower()
