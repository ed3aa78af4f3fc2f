"""Command lines as people type them: options first or last, words misspelt, help asked for."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from everfold import __version__
from everfold.__main__ import run
from everfold.commands.app import app
from everfold.commands.arguments import FLAGS, VALUED, with_options_last
from everfold.commands.config.settings import settings_of
from everfold.commands.help.topics import topic_text, topics
from everfold.commands.session import Session
from everfold.projector.job.job import STATUSES
from everfold.streams.events.event import Policy
from everfold.streams.events.reasons import ExpiryReason, FailureCode
from tests.everfold.commands.test_help import COMMANDS

MOVED = {
    "-n x jobs ls": "jobs ls -n x",
    "--json --namespace=x jobs show abcd --json": "jobs show --json --namespace=x abcd --json",
    "-nx --redis-url r events -f": "events -nx --redis-url r -f",
    "-n x jobs": "jobs -n x",
    "jobs ls -n x": "jobs ls -n x",
    "--json jobs -n x ls --limit 1": "jobs ls --json -n x --limit 1",
    "limits --json set -nx running": "limits set --json -nx running",
    "-n x jobs -h": "jobs -h",
    "-n x help statuses": "help statuses",
    "-n x --version": "--version",
    "--json -h": "-h",
    "-n x": "-n x",
    "--json": "--json",
    "-n": "-n",
    "": "",
    "--follow events": "--follow events",
    "-n x audit replay f -- -n y": "audit replay -n x f -- -n y",
}


@pytest.mark.parametrize("given", MOVED)
def test_common_options_may_stand_before_the_command(given: str) -> None:
    assert with_options_last(app, given.split()) == MOVED[given].split()


def test_they_are_those_that_the_session_has() -> None:
    settings = settings_of(COMMANDS["jobs", "ls"], ("jobs", "ls"))
    common = {field.name for field in fields(Session)} - {"config"}
    names = {name for one in settings if one.key in common for name in one.argument.names}
    assert names - {"--no-json"} == VALUED | FLAGS


MISTAKES = {
    "job ls": "there is no command 'job'; did you mean `jobs`?",
    "jobs lss": "there is no command 'jobs lss'; did you mean `jobs ls`?",
    "timeline": "there is no command 'timeline'; did you mean `audit timeline`?",
    "jobs timeline": "there is no command 'jobs timeline'; did you mean `audit timeline`?",
    "version": "there is no command 'version'; did you mean `everfold --version`?",
    "xyzzy": "there is no command 'xyzzy'; `everfold help` lists all commands",
    "config xyzzy": "there is no command 'config xyzzy'; there are show, check",
    "jobs ls --sttatus x": "`jobs ls` has no option --sttatus; did you mean --status?",
    "jobs ls --xyzzy": "`jobs ls` has no option --xyzzy; see `everfold help jobs ls`",
    "events --since 2h": "`events` has no option --since; see `everfold help events`",
    "jobs ls extra": "`jobs ls` takes no further argument, and 'extra' is one; see",
    "jobs show": "`jobs show` needs JOB-ID: the job's id, or at least 4 characters",
    "runner --queue": "--queue of `runner` needs a value: a queue to serve; see",
    "--follow events": "there is no option --follow before the command; write a command's options",
    "--pasword=s3cret jobs ls": "there is no option --pasword=*** before the command",
    "-n x": "a command is missing: `everfold help` lists them",
    "-n x queues": "`queues` needs one of its commands: ls, pause, resume",
    "sink --json": "`sink` needs one of its commands: ",
    "jobs ls --status faild": "--status 'faild' is not usable: did you mean failed? choose from",
    "limits set runing queue x 3": "LIMIT 'runing' is not usable: did you mean running? choose",
    "help statusses": "there is no command and no topic 'statusses'; did you mean statuses?",
    "help jobs lss": "there is no command and no topic 'jobs lss'; see `everfold help`",
}


@pytest.mark.parametrize("given", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(given.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"everfold: {MISTAKES[given]}")
    assert "s3cret" not in err


@pytest.mark.parametrize("given", ["--version", "-n x --version", "--json --version"])
def test_the_version_is_one_line(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(given.split()) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_by_flag_and_by_command_is_the_same(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["jobs", "ls", flag]) == 0
    page = capsys.readouterr().out
    assert run(["help", "jobs", "ls"]) == 0
    assert capsys.readouterr().out == page
    assert "--namespace" in page


def test_help_lists_all_topics_and_shows_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help"]) == 0
    page = capsys.readouterr().out
    for topic, sentence in topics().items():
        assert f"  {topic:<14}{sentence}\n" in page
        assert run(["help", topic.upper()]) == 0
        assert capsys.readouterr().out == topic_text(topic)
        assert sentence.endswith("."), topic
        assert max(map(len, topic_text(topic).splitlines())) <= 80, topic
    assert len(topics()) >= 10
    assert not {*topics()} & {*app}, "a topic has the name of a command"


def test_topics_name_all_that_there_is() -> None:
    assert all(f"\n  {status} " in topic_text("statuses") for status in STATUSES)
    for code in (*get_args(FailureCode), *get_args(ExpiryReason)):
        assert f"\n  {code} " in topic_text("reasons"), code
    for name in Policy.__struct_fields__:
        assert f"\n  {name.removesuffix('_s')} " in topic_text("policies"), name


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_option_of_a_command_is_named_once(words: tuple[str, ...]) -> None:
    names = [name for one in settings_of(COMMANDS[words], words) for name in one.argument.names]
    assert len(names) == len(set(names))


def test_neither_an_argument_nor_a_yes_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVERFOLD_JOBS_SHOW_JOB_ID", "left-in-a-shell")
    assert run(["jobs", "show"]) == 2
    assert "`jobs show` needs JOB-ID" in capsys.readouterr().err
    monkeypatch.setenv("EVERFOLD_SUBMIT_WORKFLOW", "left-in-a-shell")
    assert run(["submit"]) == 2
    assert "`submit` needs WORKFLOW" in capsys.readouterr().err
