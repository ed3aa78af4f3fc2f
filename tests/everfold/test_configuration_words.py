"""The words of the config file: what is refused, what is masked, and what the reference says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everfold.commands.app import app
from everfold.commands.config.checking import problems
from everfold.commands.config.config import masked
from everfold.commands.config.configuration import checked
from everfold.commands.config.options import described, recorded, tree
from everfold.commands.config.reference import DOCUMENT, MARK, RECORDED, record, reference
from everfold.streams.errors import Misconfigured

AGAIN = "write it anew: python -m everfold.commands.reference"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "everfold.toml"


# What is refused.

REFUSED = {
    "[runner]\nslot = 3": "unknown key `slot` in [runner]; did you mean `slots`?",
    "[runer]\nslots = 3": "unknown table [runer]; did you mean [runner]?",
    "[archive.rum]\nonce = true": "unknown table [archive.rum]; did you mean [archive.run]?",
    'namspace = "x"': "unknown key `namspace` at the top; did you mean `namespace`?",
    "slots = 3": "unknown key `slots` at the top; did you mean `slots` in [up] or ",
    '[runner]\nlog = "INFO"': "unknown key `log` in [runner]; did you mean `log` at the top?",
    '[doctor]\nx = "s3cret"': "unknown key `x` in [doctor]; the keys there are namespace,",
    '[runner]\nslots = "3"': "`slots` in [runner] must be an integer, not a string",
    "[runner]\nslots = true": "`slots` in [runner] must be an integer, not a boolean",
    "[submit]\nwait = 1": "`wait` in [submit] must be a boolean, not an integer",
    "comfyui = [1]": "`comfyui` at the top must be a list of strings",
    '[audit.show]\ndiff = ["1"]': "`diff` in [audit.show] must be a list of 2 strings",
    '[audit.show]\ndiff = "1"': "`diff` in [audit.show] must be a list of 2 strings, not a string",
    "[namespace]": "`namespace` at the top must be a string, not a table",
    "runner = 3": "`runner` at the top must be a table: write [runner]",
    'log = "loud"': "`log` at the top must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    '[submit]\nrun_at = "soon"': "`run_at` in [submit] must be a time such as 2030-01-31",
    "[jobs.ls]\njson = true": "`json` in [jobs.ls] belongs to one call: give it on",
    '[jobs.show]\njob_id = "x"': "`job_id` in [jobs.show] belongs to one call",
    "[runner]\nlease-ttl = 1\nlease_ttl = 1": "`lease-ttl` and `lease_ttl` in [runner] are",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_unknown_or_of_a_wrong_type_is_refused_with_one_sentence(
    text: str, file: Path
) -> None:
    file.write_text(text)
    with pytest.raises(Misconfigured) as refused:
        checked(file)
    assert str(refused.value).startswith(f"{file}: {REFUSED[text]}")
    assert "s3cret" not in str(refused.value)


SYNTAX = {
    b'namespace = "x"\nlog = \n': "line 2, column 7: invalid value",
    b'namespace = "x"\n[runner': "line 2, column 8: expected ']'",
    b"\nuser = '\xff'": "line 2, column 9: not UTF-8",
}


@pytest.mark.parametrize("text", SYNTAX)
def test_what_is_not_toml_is_refused_with_its_place(text: bytes, file: Path) -> None:
    file.write_bytes(text)
    with pytest.raises(Misconfigured, match=re.escape(f"{file}, {SYNTAX[text]}")):
        checked(file)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("webhook_secret", "x", "***"),
        ("api-key", "x", "***"),
        ("password", ["x"], "***"),
        ("headers", {"Authorization": "x"}, "***"),
        ("url", "postgres://me:a:b@h/d", "postgres://me:***@h/d"),
        ("url", "redis://u:a/b,c@h", "redis://u:***@h"),
        ("url", "redis://:x@h", "redis://:***@h"),
        ("url", "http://h/?api_key=x&y=1", "http://h/?api_key=***&y=1"),
        ("url", "host=h password=x user=u", "host=h password=*** user=u"),
        ("url", ["redis://u:x@h"], ["redis://u:***@h"]),
        ("url", "redis://h:6379/0", "redis://h:6379/0"),
        ("slots", 3, 3),
    ],
)
def test_secrets_are_masked(name: str, value: object, shown: object) -> None:
    assert masked(name, value) == shown


# What is written down.


def test_the_reference_is_that_of_the_commands() -> None:
    _, mark, below = DOCUMENT.read_text().partition(MARK)
    assert mark
    assert below == reference(described(app)), AGAIN


def test_the_recorded_options_are_those_of_the_commands() -> None:
    assert RECORDED.read_text() == record(described(app)), AGAIN
    assert recorded()


def test_the_example_in_the_reference_is_a_file_that_is_understood(file: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example
    file.write_text(example[1])
    told = {option.setting for option, _ in checked(file).settings}
    assert {"comfyui", "runner.slots", "archive.run.trim_after"} <= told


def test_no_key_is_a_table_too() -> None:
    options = described(app)
    known = tree(options)
    assert problems({"runner": {"slots": 1}}, known) == []
    with pytest.raises(ValueError, match="twice"):
        tree([*options, options[-1]])
