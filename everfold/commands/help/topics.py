"""The topics of `everfold help TOPIC`: short texts that are files of this package."""

from __future__ import annotations

from importlib.resources import files

_FOLDER = files("everfold.commands.help") / "topics"


def topics() -> dict[str, str]:
    """Return topic -> its first line without the name, in the order of names."""
    names = sorted(one.name.removesuffix(".txt") for one in _FOLDER.iterdir())
    return {name: _first_sentence(topic_text(name)) for name in names}


def topic_text(name: str) -> str:
    """Return the text of a topic. Raises FileNotFoundError."""
    return (_FOLDER / f"{name}.txt").read_text("utf-8")


def _first_sentence(text: str) -> str:
    return text.partition("\n")[0].partition(": ")[2]
