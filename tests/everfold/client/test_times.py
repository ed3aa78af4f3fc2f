"""Times as people write them, for every option that takes one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from everfold.commands.app import app
from everfold.commands.config.settings import all_settings
from everfold.commands.times import moment, to_ms
from everfold.timeline.reading import Span
from tests.everfold.running import Everfold, ended, make_namespace
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10min", 600), (" 2h ", 7200)])
def test_an_age_counts_back_from_now_or_ahead(text: str, seconds: float) -> None:
    for from_now in (-1, 1):
        found = moment(text, from_now=from_now)
        assert found is not None
        wanted = datetime.now(UTC) + timedelta(seconds=from_now * seconds)
        assert abs(found - wanted) < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2023-11-14T22:00:00Z", 1_699_999_200_000),
        ("2023-11-14T23:00:00.5+01:00", 1_699_999_200_500),
        ("2023-11-14T22:00:00", int(datetime(2023, 11, 14, 22).timestamp() * 1000)),
    ],
)
def test_a_time_has_its_zone_or_is_local(text: str, time_ms: int) -> None:
    found = moment(text)
    assert found is not None
    assert found.tzinfo is not None
    assert to_ms(found) == time_ms


@pytest.mark.parametrize("text", ["nonsense", "", "10", "10 weeks", "-5m", "0001-01-01", "٣m"])
def test_what_is_not_a_time_is_none(text: str) -> None:
    assert moment(text) is None


def test_a_span_holds_its_ends_and_what_is_between() -> None:
    found = Span(10, 20)
    assert [time for time in (9, 10, 15, 20, 21) if found.has(time)] == [10, 15, 20]
    assert Span().has(0)


REFUSED = {
    ("audit", "timeline", "--until", "nonsense"): "--until 'nonsense' is not a time: write an age",
    ("jobs", "ls", "--newer-than", "soon"): "--newer-than 'soon' is not a time: write an age",
    ("submit", "x.json", "--run-at", "soon"): "--run-at 'soon' is not a time: write a time",
    ("archive", "trim", "--retention", "soon"): "--retention 'soon' is not a duration: write a",
    ("archive", "trim", "--retention=-1"): "--retention '-1' is not a duration: write a",
    ("sink", "webhook", "--url", "https://e.com", "--retry", "x"): "--retry 'x' is not a duration",
    ("audit", "timeline", "--since", "1m", "--until", "2h"): "is later than --until",
    ("audit", "replay", "--to", "x", "--speed", "0x"): "--speed 0.0 is not usable: use a number",
    ("audit", "replay", "--to", "x", "--speed", "9999999x"): "to 1,000,000",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
async def test_what_is_refused_names_the_option(
    everfold: Everfold, arguments: tuple[str, ...]
) -> None:
    program = everfold(*arguments)
    await ended(program, code=2)
    assert REFUSED[arguments] in program.error_lines[0]


async def test_every_command_takes_ages_and_units(everfold: Everfold, server: OwnServer) -> None:
    await make_namespace(server.url)
    await ended(everfold("jobs", "ls", "--since", "2h", "--older-than", "1s"))
    await ended(everfold("audit", "timeline", "--from", "2d"))
    await ended(everfold("audit", "replay", "--to", "trial", "--since", "2h", "--until", "1m"))
    await ended(everfold("archive", "trim", "--retention", "1d", "--without-archive"))


def test_no_option_for_a_time_has_a_parser_of_its_own() -> None:
    numbers = ("speed", "requests_per_s", "keep_log_memory")
    for setting in all_settings(app):
        hint = str(setting.argument.hint)
        if "float" in hint and not setting.key.endswith(numbers):
            assert setting.argument.parameter.metavar in ("DURATION", "DURATION..."), setting.name
        if "datetime" in hint:
            assert setting.argument.parameter.metavar == "TIME", setting.name
