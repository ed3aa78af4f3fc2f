"""Tables at all widths: values stay whole, and a table that does not fit becomes records."""

from __future__ import annotations

import pytest
from rich.text import Text

from everfold.commands.formats import job_columns
from everfold.commands.tables import layout, records, wrapped
from everfold.projector.job.job import Job
from everfold.projector.job.short_ids import short_ids
from everfold.streams.events.event import Failure
from tests.everfold.commands.test_output import in_terminal, without_colors

ID = "0190a3f2-7b1c-7def-8000-000000000000"
ADDRESS = "http://gpu-with-a-long-name.example.com:8188"
PROGRAM = f"""
from everfold.commands.output import show
rows = [("{ID}", "{ADDRESS}", "it refuses the password that it gets: correct it"), ("b", "", "")]
columns = {{name: lambda row, i=i: row[i] for i, name in enumerate(("job", "server", "why"))}}
show(rows, columns)
"""


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_a_value_is_whole_at_each_width(columns: int) -> None:
    lines = without_colors(in_terminal(PROGRAM, columns)).replace("\r", "").splitlines()
    assert any(ID in line for line in lines)
    assert any(ADDRESS in line for line in lines)
    assert max(len(line.rstrip()) for line in lines) <= max(columns, len(ADDRESS) + 2)
    words = " ".join(" ".join(lines).split())
    assert words.count("password") == 1
    assert "…" not in words
    assert (lines[0].split() == ["job", "server", "why"]) == (columns >= 120)


EVENT = f"""
from everfold.commands.output import say_wrapped
say_wrapped("22:36:46.861  {ID}  1  ", ("submitted", "bold"), "  queue=default  " + "word " * 30)
"""


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_a_long_line_is_broken_between_words(columns: int) -> None:
    lines = without_colors(in_terminal(EVENT, columns)).replace("\r", "").splitlines()
    assert any(ID in line for line in lines)
    assert " ".join(lines).split().count("word") == 30
    assert max(len(line.rstrip()) for line in lines) <= max(columns, len(ID) + 4)
    assert all(line.startswith("    ") for line in lines[1:])
    assert (len(lines) == 1) == (columns == 300)


def cells(**columns: list[str]) -> dict[str, list[Text]]:
    return {name: [Text(value) for value in values] for name, values in columns.items()}


def test_a_column_is_wrapped_down_to_its_longest_word() -> None:
    table = cells(job=["x" * 8], why=["a word-of-twenty-letters or more of them"])
    assert layout(table, None, 8 + 2 + 22) is not None
    assert layout(table, None, 8 + 2 + 20) is None
    assert layout(table, (), 8 + 2 + 20) is not None, "the last one may be cut"
    assert layout(table, (), 8 + 2 + 19) is None


EMPTY = f"""
from everfold.commands.output import show
rows = [("0", 0, "{ADDRESS}"), ("1", 0, "{ADDRESS}")]
columns = {{name: lambda row, i=i: row[i] for i, name in enumerate(("part", "parked", "owner"))}}
show(rows, columns)
"""


@pytest.mark.parametrize("columns", [54, 80])
def test_a_table_that_does_not_fit_is_one_without_its_empty_columns(columns: int) -> None:
    lines = without_colors(in_terminal(EMPTY, columns)).replace("\r", "").splitlines()
    parked = ["parked"] if columns == 80 else []
    assert lines[0].split() == ["part", *parked, "owner"]
    assert len(lines) == 3


def test_records_leave_out_what_is_empty_and_put_a_long_value_on_its_own_line() -> None:
    table = cells(job=[ID, "b"], runner=["-", "r1"], why=["one two three four five six", ""])
    lines = [line.plain for line in records(table, ["", ""], 40)]
    assert lines[:2] == ["job", f"  {ID}"]
    assert lines[2:4] == ["why     one two three four five six", ""]
    assert lines[4:] == ["job     b", "runner  r1"]


def test_a_mark_in_a_column_without_a_name_stands_before_the_next_value() -> None:
    cells = {
        "": [Text("✓"), Text("✗")],
        "what": [Text("clock"), Text("log")],
        "why": [Text("")] * 2,
    }
    assert [line.plain for line in records(cells, ["", ""], 40)] == [
        "what  ✓ clock",
        "",
        "what  ✗ log",
    ]


@pytest.mark.parametrize("width", [1, 5, 9, 40])
def test_a_text_is_broken_between_words_only(width: int) -> None:
    text = "  a few words, and-one-that-is-long  between"
    lines = [line.plain for line in wrapped(Text(text), width)]
    assert " ".join(lines).split() == text.split()
    assert {word for line in lines for word in line.split()} == set(text.split())
    assert all(len(line.strip()) <= width or " " not in line.strip() for line in lines)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_list_of_jobs_names_each_by_an_id_that_commands_take(width: int) -> None:
    failure = Failure(code="x", message="a message of some length " * 9)
    jobs = [
        Job(job_id=f"{ID[:-1]}{i}", status="failed", error=failure, submitted_at_ms=1)
        for i in range(3)
    ]
    columns = job_columns(width, short_ids(job.job_id for job in jobs))
    named = [str(columns["job"](job)) for job in jobs]
    assert all(job.job_id.endswith(name) for job, name in zip(jobs, named, strict=True))
    table = {name: [Text(str(cell(job))) for job in jobs] for name, cell in columns.items()}
    form = layout(table, (), width)
    assert (form is None) == (width == 40)
