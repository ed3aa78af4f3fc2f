"""Checks of what a caller gives: metadata, names and ids, before anything is written.

Rule: pure, and each refusal names what was wrong, where, and what to do. A text of a class of the
caller's own, such as an enum's, is taken as the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from everfold.streams.border.addresses import masked_receiver
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import InvalidName, TooLarge
from everfold.streams.events.event import (
    AssetInput,
    Claimed,
    Fact,
    Recovered,
    Released,
    Retried,
    Submitted,
)
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.json_values import write_json
from everfold.streams.events.limits import (
    CALLBACK_LIMIT,
    EVENT_ID_LIMIT,
    ID_LIMIT,
    INPUTS_LIMIT,
    METADATA_LIMIT_BYTES,
    NAME_LIMIT,
    NEEDS_LIMIT,
    TAG_LIMIT,
    TAGS_LIMIT,
)
from everfold.streams.events.ranges import whole_number

_EVENT_ID = re.compile(r"[!-~]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")

_OF_OTHER_CALLS = (Submitted, Claimed, Recovered, Released, Retried)
"""Events of a job that is moved from one place to another: by themselves they would say what is not
so."""

_NAME_RULE = f"use 1 to {NAME_LIMIT} letters, digits, dots, hyphens or underscores"

_read_object = decoder(dict[str, object])


def _plain(text: str) -> str:
    return text if type(text) is str else str.__str__(text)


def check_metadata(metadata: object) -> dict[str, object]:
    """Return a plain copy of an object of JSON values.

    Raises InvalidName for what is not JSON, TooLarge above METADATA_LIMIT_BYTES.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidName("metadata", metadata, "pass a mapping of names to JSON values")
    if not all(isinstance(name, str) for name in metadata):
        raise InvalidName("metadata", metadata, "its names must be strings")
    try:
        encoded = write_json(metadata)
    except NotJson as error:
        raise InvalidName("metadata", metadata, f"it cannot be written as JSON: {error}") from error
    if len(encoded) > METADATA_LIMIT_BYTES:
        raise TooLarge("the metadata", len(encoded), METADATA_LIMIT_BYTES)
    return _read_object(encoded)


def check_name(what: str, name: object) -> str:
    """Return the name of a queue, namespace or runner, which becomes part of keys.

    `what` says in the error whose name it is. Raises InvalidName.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidName(what, name, _NAME_RULE)
    return _plain(name)


def check_job_id(job_id: object) -> str:
    """Return the id: at most ID_LIMIT characters that keys can carry. Raises InvalidName."""
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidName(
            "job id", job_id, f"use 1 to {ID_LIMIT} letters, digits, or any of . _ : -"
        )
    return _plain(job_id)


def check_job(job_id: object) -> str:
    """Return the id of a job that is looked for: whatever another program may have chosen.

    Raises InvalidName for what is no text.
    """
    if not isinstance(job_id, str) or not job_id:
        raise InvalidName("job id", job_id, "it must be a text that is not empty")
    return _plain(job_id)


def check_event_id(event_id: object) -> str:
    """Return the id: 1 to EVENT_ID_LIMIT visible ASCII characters. Raises InvalidName."""
    if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
        rule = f"use 1 to {EVENT_ID_LIMIT} visible ASCII characters, such as a UUID"
        raise InvalidName("event id", event_id, rule)
    return _plain(event_id)


def author_of(event: Fact) -> str:
    """Return under which name the head of a job remembers the event's id: its actor, or "-" for
    all whose actor is no name."""
    return event.actor if _NAME.fullmatch(event.actor) else "-"


def check_append(
    job_id: object, event: object, epoch: object, holder: object, expected: object
) -> tuple[str, int, str, int]:
    """Return job id, epoch, holder and expected sequence number of an append.

    Raises InvalidName, also for what is no event, and for one that moves the job besides.
    """
    if not isinstance(event, Fact):
        raise InvalidName("event", event, "pass an event, such as everfold.Started(attempt=1)")
    if isinstance(event, _OF_OTHER_CALLS):
        raise InvalidName("event", type(event).__name__, "submit, claim or release appends it")
    number, known = whole_number("epoch", epoch), check_job(job_id)
    return known, number, check_text("holder", holder), whole_number("expected", expected)


def check_texts(what: str, texts: object) -> tuple[str, ...]:
    """Return several free texts. Raises InvalidName, for a single text too, or TooLarge."""
    return tuple(check_text(what, text) for text in check_list(what, texts))


def check_needs(labels: object) -> tuple[str, ...]:
    """Return the labels that a job needs, each once, sorted. Raises InvalidName or TooLarge."""
    found = sorted({check_text("needs", one, least=1) for one in check_list("needs", labels)})
    if len(found) > NEEDS_LIMIT:
        raise TooLarge("needs", len(found), NEEDS_LIMIT, "labels")
    return tuple(found)


def check_list(what: str, values: object) -> tuple[object, ...]:
    """Return several values. Raises InvalidName for what is not several, such as one text."""
    try:
        if isinstance(values, Iterable) and not isinstance(values, str | bytes):
            return tuple(values)
    except Exception as error:  # an object of the caller's own may raise anything
        raise InvalidName(what, values, f"it cannot be read: {type(error).__name__}") from error
    raise InvalidName(what, values, "pass a list")


def check_text(what: str, text: object, *, least: int = 0, most: int = ID_LIMIT) -> str:
    """Return a free text of one line: user, kind, idempotency key, reason.

    It has `least` to `most` characters. Raises InvalidName or TooLarge.
    """
    if not isinstance(text, str):
        raise InvalidName(what, text, "it must be a string")
    if len(text) < least:
        raise InvalidName(what, text, "it must not be empty; leave it out instead")
    if len(text) > most:
        raise TooLarge(what, len(text), most, "characters")
    if not text.isprintable():
        raise InvalidName(what, text, "it must not hold control characters")
    return _plain(text)


def check_idempotency_key(key: object) -> str | None:
    """Return an idempotency key, None for none. Raises InvalidName or TooLarge."""
    if key is None:
        return None
    if not (text := check_text("idempotency key", key, least=1)).strip():
        raise InvalidName("idempotency key", key, "it must not be blank; leave it out instead")
    return text


def check_callback(url: object) -> str:
    """Return the URL that is told of a job's end; empty for none. Raises InvalidName, TooLarge.

    The error shows its host only. Whether it may be reached is for the process that sends.
    """
    shown = masked_receiver(url) if isinstance(url, str) else url
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise InvalidName("callback", shown, "pass a URL, such as https://example.com/done")
    if len(url) > CALLBACK_LIMIT:
        raise TooLarge("callback", len(url), CALLBACK_LIMIT, "characters")
    if not url:
        return _plain(url)
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise InvalidName("callback", shown, "it must begin with https:// or http:// and a host")
    if "@" in parts.netloc:
        raise InvalidName("callback", shown, "it must not carry a password; messages are signed")
    return _plain(url)


def check_inputs(inputs: object) -> dict[str, AssetInput]:
    """Return the files for inputs of a graph, sorted by place. Raises InvalidName or TooLarge."""
    if not isinstance(inputs, Mapping):
        raise InvalidName("inputs", inputs, "pass a mapping of places, such as 10.image, to files")
    if len(inputs) > INPUTS_LIMIT:
        raise TooLarge("the list of inputs", len(inputs), INPUTS_LIMIT, "files")
    for place, found in inputs.items():
        check_text("input", place, least=1)
        if not isinstance(found, AssetInput):
            raise InvalidName(f"input {place}", found, "pass an everfold.AssetInput")
        if not is_sealed(found.name):
            check_text(f"the name of input {place}", found.name)
        check_text(f"the media type of input {place}", found.media_type)
    return dict(sorted(inputs.items()))


def check_tags(tags: object) -> tuple[str, ...]:
    """Return the tags of a job, each once, in the order given. Raises InvalidName or TooLarge."""
    given = check_list("tags", tags)
    found = dict.fromkeys(check_text("tag", tag, least=1, most=TAG_LIMIT) for tag in given)
    if len(found) > TAGS_LIMIT:
        raise TooLarge("the list of tags", len(found), TAGS_LIMIT, "tags")
    return tuple(found)


def check_choice(what: str, value: object, choices: tuple[str, ...]) -> str:
    """Return a value that is one of `choices`. Raises InvalidName, which lists them."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidName(what, value, f"choose one of {', '.join(choices)}")
    return _plain(value)
