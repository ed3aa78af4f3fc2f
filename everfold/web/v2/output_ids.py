"""Ids of outputs that are no assets: texts and tables of nodes, and files that were not stored.

Rule: pure. Such an id says where in its job the output stands, so that no table has to be kept. It
is no secret: whoever asks with it is checked as for the job itself.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Struct

from everfold.streams.events.json_text import NotJson, decoder

BEFORE = "job."
ID_LIMIT = 4_000
"""Characters. A node's id and the name of a list may be long."""


class Place(Struct, frozen=True, array_like=True):
    """Where in a job an output stands."""

    job_id: str
    node: str
    kind: str
    """The list of the node's output, such as text."""
    index: int
    """Its place in that list."""


_read = decoder(Place)


def id_of(place: Place) -> str:
    """Return the id of an output: letters, digits, dots, hyphens and underscores."""
    text = base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()
    return BEFORE + text.rstrip("=")


def place_of(output_id: str) -> Place | None:
    """Return the place that an id names; None for an id that `id_of` did not make."""
    if not output_id.startswith(BEFORE) or len(output_id) > ID_LIMIT:
        return None
    text = output_id.removeprefix(BEFORE)
    try:
        place = _read(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (NotJson, binascii.Error, ValueError):
        return None
    return place if id_of(place) == output_id else None
