"""The AsyncAPI document is one by the official schema, and says what the log is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from jsonschema import Draft7Validator

from everfold.contract.asyncapi import ATTRIBUTES
from everfold.contract.json_schema import EVENT_TYPES
from everfold.streams.events.record import FIELDS, Recorded
from everfold.streams.redis.keys import Keyspace
from tests.everfold.contract.schemas import DATA, GOLDEN, Json, asyncapi, references, resolved

OFFICIAL = Draft7Validator(json.loads((DATA / "asyncapi" / "3.0.0.json").read_text()))
CHANNEL = "#/channels/log"


def test_the_official_schema_accepts_it() -> None:
    assert [error.message for error in OFFICIAL.iter_errors(asyncapi())] == []


MUTATIONS: dict[str, Callable[[Json], object]] = {
    "another version of AsyncAPI": lambda it: it.update(asyncapi="2.6.0"),
    "no title": lambda it: it["info"].pop("title"),
    "a server without a protocol": lambda it: it["servers"]["redis"].pop("protocol"),
    "an unknown word in the channel": lambda it: it["channels"]["log"].update(topic="x"),
    "an action of AsyncAPI 2": lambda it: it["operations"]["read"].update(action="subscribe"),
    "an operation without a channel": lambda it: it["operations"]["append"].pop("channel"),
    "a message in place": lambda it: it["operations"]["read"].update(messages=[{"name": 7}]),
    "a payload schema that is none": lambda it: it["components"]["schemas"]["Lost"].update(
        type="thing"
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_official_schema_refuses_a_broken_one(name: str) -> None:
    document = asyncapi()
    MUTATIONS[name](document)
    assert not OFFICIAL.is_valid(document)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()
    found = set(references(document))
    assert len(found) > 3 * len(EVENT_TYPES)
    for reference in found:
        assert resolved(document, reference)


def test_the_address_is_the_key_of_the_log_with_each_parameter_described() -> None:
    channel = asyncapi()["channels"]["log"]
    assert re.findall(r"{(.+?)}", channel["address"]) == list(channel["parameters"])
    [parameter] = channel["parameters"].values()
    addresses = [channel["address"].format(hashTag=tag) for tag in parameter["examples"]]
    keys = Keyspace("everfold", 24)
    assert addresses == [keys.log(0), keys.log(23)]
    key = channel["x-redis-stream"]["key"]
    assert key.replace("<tag of the partition>", "everfold:0") == keys.log(0)


def test_what_is_sent_is_what_is_received_and_each_event_has_one_sender() -> None:
    document = asyncapi()
    sent: list[str] = []
    for operation in document["operations"].values():
        assert all(each.startswith(f"{CHANNEL}/messages/") for each in references(operation)) or (
            operation["channel"] == {"$ref": CHANNEL}
        )
        if operation["action"] == "send":
            sent += [each["$ref"] for each in operation["messages"]]
    received = [each["$ref"] for each in document["operations"]["read"]["messages"]]
    assert sorted(sent) == sorted(received)
    assert received == [f"{CHANNEL}/messages/{each}" for each in EVENT_TYPES]


def test_the_fields_of_an_entry_are_those_of_the_log() -> None:
    document = asyncapi()
    names = [name.decode() for name in FIELDS]
    stream = document["channels"]["log"]["x-redis-stream"]
    assert [*stream["headers"], stream["payload"]] == names == list(stream["fields"])
    assert document["components"]["schemas"]["Entry"]["required"] == stream["headers"]
    assert set(ATTRIBUTES.values()) < set(Recorded.__struct_fields__)
    assert "fencing token" in stream["fields"]["e"]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_event_fits_the_payload_of_its_message(name: str) -> None:
    document, event = asyncapi(), GOLDEN[name]
    message = resolved(document, f"#/components/messages/{event['type']}")
    validator = Draft7Validator({**message["payload"], "components": document["components"]})
    whole = Draft7Validator({"components": document["components"], "allOf": [message["payload"]]})
    assert validator.is_valid(event)
    assert whole.is_valid(event)
    assert not whole.is_valid({**event, "actor": 7})
