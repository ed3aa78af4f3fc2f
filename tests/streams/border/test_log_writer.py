"""A log that nobody reads, that is full or closed, ends nothing and blocks nothing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everfold.streams.border import log_writer
from everfold.streams.border.line_limits import MOST, WINDOW_S, LineLimits
from everfold.streams.border.log_formatter import LogFormatter
from everfold.streams.border.log_writer import BYTES_LIMIT, JOBS, LINES_LIMIT, LogWriter

Open = Callable[[int], LogWriter]


@pytest.fixture
def open_writer() -> Iterator[Open]:
    made = list[LogWriter]()

    def opened(descriptor: int) -> LogWriter:
        writer = LogWriter(descriptor)
        writer.setFormatter(LogFormatter())
        made.append(writer)
        return writer

    yield opened
    for writer in made:
        writer.close()


def record(text: str, *values: object, name: str = JOBS) -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "", 0, text, values, None)


def read_all(reader: int) -> str:
    text = b""
    while not text.endswith(b"last\n"):
        text += os.read(reader, 65536)
    return text.decode()


def test_lines_come_in_their_order(open_writer: Open, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = open_writer(file.fileno())
    for n in range(1_000):
        writer.emit(record("line n=%d", n))
    writer.flush()

    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split("n=")[1] for line in lines] == [str(n) for n in range(1_000)]


def test_a_pipe_that_nobody_reads_blocks_nobody_and_what_is_lost_is_counted(
    open_writer: Open,
) -> None:
    reader, end = os.pipe()
    writer = open_writer(end)
    writer.setFormatter(logging.Formatter("%(message)s"))
    os.close(end)
    began_s = time.monotonic()
    for _ in range(2 * LINES_LIMIT):
        writer.emit(record("x" * 1_000))
    assert time.monotonic() - began_s < 10
    assert writer._bytes <= BYTES_LIMIT

    lines = threading.Thread(target=lambda: texts.append(read_all(reader)))
    texts = list[str]()
    lines.start()
    while writer._bytes:
        writer.flush()
    writer.emit(record("last"))
    lines.join(20)
    os.close(reader)
    kept = texts[0].count("x" * 1_000)
    lines_lost = [line for line in texts[0].splitlines() if "lines_lost" in line]
    lost = [int(line.split("count=")[1]) for line in lines_lost]
    assert sum(lost) == 2 * LINES_LIMIT - kept > 0


def test_the_end_of_a_process_waits_for_a_bounded_time(
    open_writer: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "LAST_WORDS_WITHIN_S", 0.2)
    reader, end = os.pipe()
    writer = open_writer(end)
    for _ in range(200):
        writer.emit(record("x" * 1_000))
    began_s = time.monotonic()
    writer.close()
    assert 0.1 < time.monotonic() - began_s < 5
    os.close(end)
    os.close(reader)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_borne(open_writer: Open) -> None:
    with open("/dev/full", "wb") as full:
        writer = open_writer(full.fileno())
    writer.emit(record("one"))
    writer.flush()
    assert writer._thread is not None
    assert writer._thread.is_alive()


def test_a_reader_that_has_gone_is_borne(open_writer: Open) -> None:
    reader, end = os.pipe()
    os.close(reader)
    writer = open_writer(end)
    writer.emit(record("one"))
    writer.flush()
    assert writer._thread is not None
    assert writer._thread.is_alive()
    os.close(end)


def test_lines_of_one_kind_are_bounded_and_the_rest_is_counted() -> None:
    limits = LineLimits()

    taken = [limits.take("request", 5.0)[0] for _ in range(MOST + 50)]
    assert taken == [True] * MOST + [False] * 50
    assert limits.take("backend_down", 5.0) == (True, 0)
    assert limits.take("request", 5.0 + WINDOW_S) == (True, 50)


def test_a_flood_says_how_many_lines_were_left_out(open_writer: Open, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = open_writer(file.fileno())
    for _ in range(MOST + 7):
        writer.emit(record("odd", name="library"))
    writer._limits._windows["library"].since_s -= WINDOW_S
    writer.emit(record("odd", name="library"))
    for _ in range(MOST + 7):
        writer.emit(record("claimed"))
    writer.flush()

    text = (tmp_path / "log").read_text()
    assert "lines_left_out of=library count=7" in text
    assert text.count(" library: odd") == MOST + 1
    assert text.count(" claimed") == MOST + 7
