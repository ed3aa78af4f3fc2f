"""Every option and every key of everfold.toml that is a number: its range is shown and kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cyclopts import Token
from cyclopts.annotations import resolve_optional

from everfold.__main__ import run
from everfold.commands.app import ALIASES, app
from everfold.commands.config.settings import Setting, all_settings
from everfold.commands.numbers import range_of
from everfold.streams.errors import Misconfigured
from everfold.streams.events.limits import LIMITS
from everfold.streams.events.ranges import RANGES
from tests.everfold.walk.calls import command_lines


def is_number(setting: Setting) -> bool:
    hint = str(resolve_optional(setting.argument.hint))
    return re.search(r"\b(int|float|Decimal)\b", hint) is not None


NUMBERS = {
    setting.name: setting
    for setting in all_settings(app)
    if is_number(setting) and setting.command[:1] not in [(name,) for name in ALIASES.values()]
}
ROWS = {name: row for name, one in NUMBERS.items() if (row := range_of(one.argument.parameter))}
VALUES = {"path": "x", "sink webhook url": "https://example.com", "sink posthog key": "phc_x"}
LINES = list(command_lines(VALUES))


def below_and_above(name: str) -> list[str]:
    allowed = ROWS[name].allowed
    return [f"{one:.0f}" for one in (allowed.least - 1, allowed.most + 1)]


def test_each_has_a_row_in_the_table_of_ranges() -> None:
    assert len(NUMBERS) > 14
    assert NUMBERS.keys() == ROWS.keys()
    assert {"archive.run.trim_after", "archive.trim.retention", "runner.slots"} <= ROWS.keys()
    assert {row.name for row in ROWS.values()} <= RANGES.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_its_help_ends_with_the_range_and_its_default_is_in_it(name: str) -> None:
    argument, row = NUMBERS[name].argument, ROWS[name]
    assert (argument.parameter.help or "").endswith(f" {row.ends.capitalize()}.")
    default = argument.field_info.default
    numbers = default if isinstance(default, tuple) else (default,)
    assert all(one is None or one in row.allowed for one in numbers)


@pytest.mark.parametrize("name", NUMBERS)
def test_it_takes_both_ends_and_nothing_outside(name: str) -> None:
    row = ROWS[name]
    allowed = row.allowed

    def read(text: str) -> object:
        found = row(None, [Token(keyword="--it", value=text)])
        return found[0] if isinstance(found, tuple) else found

    for end in (allowed.least, allowed.most):
        assert read(f"{end:f}".rstrip("0").rstrip(".")) == end
    wrong = [*below_and_above(name), "nan", "inf", "-inf", "1e400", "0x1", "٣", "x", "9" * 400]
    for text in [*wrong, *(["1.5"] if allowed.is_whole else [])]:
        with pytest.raises(Misconfigured, match=r"^--it "):
            read(text)


def refused(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    """Run a command that is refused; return the one sentence that it prints."""
    assert run(line) == 2, line
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1), line
    return shown.err


@pytest.mark.like_rows(24)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_out_of_range_is_refused_wherever_it_is_set(
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    setting, file = NUMBERS[name], tmp_path / "everfold.toml"
    option, variable = f"--{setting.key.replace('_', '-')}", setting.variables[-1]
    count = len(setting.command)
    line = next(one for one in LINES if tuple(one[:count]) == setting.command)
    monkeypatch.setenv("EVERFOLD_CONFIG", "")
    monkeypatch.setenv("EVERFOLD_UP_WEBHOOK_URL", "https://example.com")
    low, high = below_and_above(name)
    for text in (low, high):
        assert option in refused(capsys, [*line, f"{option}={text}"])
    with monkeypatch.context() as patch:
        patch.setenv(variable, high)
        assert variable in refused(capsys, line)
    table = f"[{'.'.join(setting.command)}]\n" if setting.command else ""
    file.write_text(f"{table}{setting.key} = {high}\n")
    assert ROWS[name].ends in refused(capsys, [*line, "--config", str(file)])


SIZES = {
    "submit.workflow": "graph",
    "submit.metadata": "metadata",
    **dict.fromkeys(("submit.kind", "submit.user", "submit.idempotency_key"), "text"),
    "submit.queue": "name",
    "jobs.cancel.reason": "reason",
}


def test_the_help_of_what_a_job_is_made_of_says_how_large_it_may_be() -> None:
    rows = {row.what: f" At most {row.most:,} {row.unit}." for row in LIMITS}
    helps = {one.name: one.argument.parameter.help or "" for one in all_settings(app)}
    assert [name for name, what in SIZES.items() if not helps[name].endswith(rows[what])] == []
