"""The words of the config file: what is refused, what is masked, and what the reference says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everfold.commands.app import app
from everfold.commands.config.config import masked
from everfold.commands.config.config_file import check_file, checked
from everfold.commands.config.reference import DOCUMENT, MARK, reference
from everfold.commands.config.settings import all_settings
from everfold.streams.errors import Misconfigured

AGAIN = "write it anew: python -m everfold.commands.config.reference"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "everfold.toml"


# What is refused.

REFUSED = {
    "[runner]\nslot = 3": "unknown key `slot` in [runner]; did you mean `slots`?",
    "[runer]\nslots = 3": "unknown table [runer]; did you mean [runner]?",
    "[archive.rum]\nonce = true": "unknown table [archive.rum]; did you mean [archive.run]?",
    'namspace = "x"': "unknown key `namspace` at the top; did you mean `namespace`?",
    "slots = 3": "unknown key `slots` at the top; did you mean it in [up] or in [runner]?",
    '[runner]\nlog = "INFO"': "unknown key `log` in [runner]; did you mean it at the top?",
    '[up.sql]\nurll = "x"': "unknown key `urll` in [up.sql]; did you mean `url`?",
    '[doctor]\nx = "s3cret"': "unknown key `x` in [doctor]; there are `comfyui`, `namespace`, "
    "`redis_ca`, `redis_cert`, `redis_check_hostname`, `redis_key`, `redis_url`",
    '[config.show]\njson = "s3cret"': "unknown table [config]; there are [acl], [archive]",
    '[runner]\nslots = "three"': "`slots` in [runner] must be an integer",
    "[runner]\nslots = true": "`slots` in [runner] must be an integer",
    "[runner]\nslots = [1, 2]": "`slots` in [runner] must be an integer",
    '[runner]\ndrain = "soon"': "`drain` in [runner] must be a duration",
    "[submit]\nwait = 7": "`wait` in [submit] must be a boolean",
    '[audit.show]\ndiff = ["1"]': "`diff` in [audit.show] must be a list of 2 strings",
    '[audit.show]\ndiff = "1"': "`diff` in [audit.show] must be a list of 2 strings",
    "[namespace]": "`namespace` at the top must be a string",
    "[namespace]\nx = 1": "`namespace` at the top must not be a table",
    'namespace = "a b"': "`namespace` at the top is not usable: use 1 to 64 letters",
    '[jobs.ls]\nnamespace = "*"': "`namespace` in [jobs.ls] is not usable: use 1 to 64 letters",
    'redis_url = "s3cret"': "`redis_url` at the top is not a Redis URL; write redis://host:6379/0",
    'redis_url = "redis://:s3cret@h:0x"': "`redis_url` at the top is not a Redis URL; write",
    'comfyui = "ftp://s3cret@h"': "`comfyui` at the top names no server: the scheme is 'ftp'",
    '[up]\ncomfyui = ["gpu1", "gpu2=h:99999"]': "`comfyui` in [up] names no server: ",
    "runner = 3": "`runner` at the top must be a table: write [runner]",
    'log = "loud"': "`log` at the top must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    '[submit]\nrun_at = "soon"': "`run_at` in [submit] must be a time",
    "[jobs.ls]\njson = true": "`json` in [jobs.ls] belongs to one call: give it on",
    '[jobs.show]\njob_id = "x"': "`job_id` in [jobs.show] belongs to one call",
    "[runner]\nlease-ttl = 1\nlease_ttl = 1": "`lease_ttl` in [runner] is there twice",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_unknown_or_of_a_wrong_type_is_refused_with_one_sentence(
    text: str, file: Path
) -> None:
    file.write_text(text)
    with pytest.raises(Misconfigured) as refused:
        checked(file, app)
    assert str(refused.value).startswith(f"{file}: {REFUSED[text]}")
    assert "s3cret" not in str(refused.value)


SYNTAX = {
    b'namespace = "x"\nlog = \n': r"Invalid value \(at line 2, column 7\)",
    b'namespace = "x"\n[runner': r"Expected '\]' .*\(at end of document\)",
    b"\nuser = '\xff'": "can't decode byte 0xff in position 9",
}


@pytest.mark.parametrize("text", SYNTAX)
def test_what_is_not_toml_is_refused_with_its_place(text: bytes, file: Path) -> None:
    file.write_bytes(text)
    with pytest.raises(Misconfigured, match=f"{file} is not TOML: .*{SYNTAX[text]}"):
        checked(file, app)


TAKEN = {
    "[runner]\nlease-ttl = 20\ndrain = '1m'\nqueue = 'video'": {
        "lease_ttl": 20,
        "drain": "1m",
        "queue": "video",
    },
    '[runner]\nslots = "3"\nqueue = ["a", "b"]': {"slots": "3", "queue": ["a", "b"]},
}


@pytest.mark.parametrize("text", TAKEN)
def test_a_value_is_taken_as_toml_or_as_a_flag_has_it(text: str, file: Path) -> None:
    file.write_text(text)
    assert checked(file, app).values[("runner",)] == TAKEN[text]


def test_paths_start_at_the_folder_of_the_file(file: Path) -> None:
    file.write_text('data = "store"\n[demo]\nfolder = "/images"\n[up]\ndata = "~/x"')
    values = checked(file, app).values
    assert values[()] == {"data": str(file.parent / "store")}
    assert values[("demo",)] == {"folder": "/images"}
    assert values[("up",)] == {"data": str(Path("~/x").expanduser())}


def test_a_place_is_a_path_from_there_or_an_address(file: Path) -> None:
    file.write_text('assets = "store"')
    assert checked(file, app).values[()] == {"assets": str(file.parent / "store")}
    file.write_text('assets = "s3://bucket/prefix"')
    assert checked(file, app).values[()] == {"assets": "s3://bucket/prefix"}
    file.write_text("assets = [1, 2]")
    assert check_file(file, app).problems == ["`assets` at the top must be a path or URL"]


def test_tables_of_an_old_name_are_taken_too(file: Path) -> None:
    file.write_text("[consumers.parked]\nwaiting = true\n[jobs.ls]\nnewer_than = '2h'")
    found = checked(file, app).values
    assert found[("consumers", "parked")] == {"waiting": True}
    assert found[("jobs", "ls")] == {"since": "2h"}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("webhook_secret", "x", "***"),
        ("api-key", "x", "***"),
        ("password", ["x"], "***"),
        ("headers", {"Authorization": "x"}, "***"),
        ("url", "postgres://me:a:b@h/d", "postgres://***@h/d"),
        ("url", "redis://u:a/b,c@h", "redis://***@h"),
        ("url", "redis://:x@h", "redis://***@h"),
        ("url", "http://h/?api_key=x&y=1", "http://h/?api_key=***&y=***"),
        ("url", "host=h password=x user=u", "host=h password=*** user=u"),
        ("url", ["redis://u:x@h"], ["redis://***@h"]),
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
    assert below == reference(), AGAIN


def test_the_example_in_the_reference_is_a_file_that_is_understood(file: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example
    file.write_text(example[1])
    values = checked(file, app).values
    assert "comfyui" in values[()]
    assert "slots" in values[("runner",)]
    assert "trim_after" in values[("archive", "run")]


def test_no_setting_has_the_name_of_another_or_of_a_table() -> None:
    names = [setting.name for setting in all_settings(app)]
    assert len(names) == len(set(names))
    tables = {name.rpartition(".")[0] for name in names}
    assert not tables & set(names)
