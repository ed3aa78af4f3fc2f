"""docs/COMMANDS.md is what the commands say of themselves."""

from __future__ import annotations

from functools import cache

import pytest

from everfold.commands.app import ALIASES
from everfold.commands.config.settings import settings_of
from everfold.commands.help.reference import DOCUMENT, reference
from tests.everfold.commands.test_help import COMMANDS

page = cache(reference)


def test_the_page_is_current() -> None:
    assert DOCUMENT.read_text() == page(), "run: python -m everfold.commands.help.reference"


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words[0] not in ALIASES.values()], ids=" ".join
)
def test_it_has_each_command_with_all_that_it_takes(words: tuple[str, ...]) -> None:
    section = page().partition(f"\n## everfold {' '.join(words)}\n")[2].partition("\n## ")[0]
    assert section.strip(), words
    common = page().partition("\n## Common options\n")[2].partition("\n## ")[0]
    for setting in settings_of(COMMANDS[words], words):
        argument = setting.argument
        name = argument.name.lstrip("-").upper() if argument.index is not None else argument.name
        assert f"`{name}`" in section + common, name
