"""Help: every command and every option is described, in sentences, wherever it is listed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cyclopts import App

from everfold.commands.app import app
from everfold.commands.config.settings import settings_of
from tests.everfold.running import Everfold, ended

pytestmark = pytest.mark.anyio


def tree(below: App, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    for name in below:
        if not name.startswith("-"):
            yield (*above, name), below[name]
            yield from tree(below[name], (*above, name))


COMMANDS = dict(tree(app))


def test_the_tree_is_whole() -> None:
    assert len(COMMANDS) > 45
    assert {("jobs", "ls"), ("sink", "webhook", "test"), ("archive", "import")} <= set(COMMANDS)


def test_every_command_has_a_sentence_as_its_help() -> None:
    for words, command in COMMANDS.items():
        first = command.help.strip().partition("\n\n")[0]
        assert first[:1].isupper(), words
        assert first.endswith("."), words


def test_every_option_has_a_sentence_as_its_help() -> None:
    for words, command in COMMANDS.items():
        for setting in settings_of(command, words, described=True):
            text = (setting.argument.parameter.help or "").strip()
            assert text, f"{' '.join(words)}: {setting.key} has no help"
            assert text.endswith((".", "...")), f"{' '.join(words)}: {setting.key}: {text}"


def test_a_list_of_commands_has_the_first_sentence_of_each() -> None:
    for words, command in COMMANDS.items():
        if command.default_command is None or list(tree(command)):
            continue
        docstring = (command.default_command.__doc__ or "").strip()
        listed = " ".join(command.help.split("\n\n")[0].split())
        assert " ".join(docstring.split("\n\n")[0].split()) == listed, words


GROUPS = [words for words, command in COMMANDS.items() if list(tree(command))]


@pytest.mark.parametrize("words", [(), *GROUPS], ids=" ".join)
async def test_no_line_of_a_group_s_page_is_empty(
    everfold: Everfold, words: tuple[str, ...]
) -> None:
    lines = await ended(everfold(*words, "--help", COLUMNS="200"))
    listed = {line.split()[1]: line.strip("│ ").split() for line in lines if line[:1] == "│"}
    for name in (words for words in (app if not words else COMMANDS[words])):
        if not name.startswith("-") and name != "consumers":
            assert len(listed[name]) > 3, name


async def test_the_page_of_a_command_shows_its_whole_docstring(everfold: Everfold) -> None:
    page = " ".join(await ended(everfold("runner", "--help")))
    assert "a second one stops it at once" in page
    assert "COMFYUI_URL" in page
    assert "EVERFOLD_RUNNER" not in page
