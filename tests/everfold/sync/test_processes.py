"""Real programs: forks, Ctrl-C, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO

import pytest

from tests.architecture.source_tree import ROOT
from tests.everfold.running import make_namespace

BEGIN = """
import contextlib, logging, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
logging.getLogger("everfold.server").setLevel(logging.ERROR)  # the tests' server keeps nothing
from everfold import ClientClosed, ClientShared, sync
everfold = sync.connect(sys.argv[1], namespace=sys.argv[2])
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
def say(*words): print(*words, flush=True)
"""

FORK = """
job_id = everfold.submit(GRAPH).job_id
states = everfold.watch(job_id)
next(states)
for number in range(3):
    child = os.fork()
    if child == 0:
        say("child", everfold.get(job_id).status)
        try:
            next(states)
        except ClientShared:
            say("a watch of the parent is refused")
        sys.exit(0)
    say("ended", os.waitpid(child, 0)[1])
say("parent", everfold.cancel(job_id).status, [state.status for state in states][-1])
"""

LOCKED_FORK = """
inside, go_on = threading.Event(), threading.Event()
def hold():
    with everfold._connection._lock:
        inside.set()
        go_on.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    say("child", len(everfold.queues()))
    os._exit(0)
os.waitpid(child, 0)
go_on.set()
thread.join()
"""

POOL = """
import multiprocessing
def work(number):
    return everfold.get(everfold.submit(GRAPH, user=str(number)).job_id).user
everfold.queues()
with multiprocessing.get_context("fork").Pool(3) as pool:
    say(sorted(pool.map(work, range(6))))
"""

CTRL_C = """
job_id = everfold.submit(GRAPH).job_id
async def running(client):
    import asyncio
    return len([t for t in asyncio.all_tasks() if "Running.run" in str(t.get_coro())])
def tell():
    while not everfold._connection.thread()._calls:
        time.sleep(0.005)
    say("waiting")
for wait in (lambda: everfold.wait(job_id), lambda: list(everfold.watch(job_id))):
    threading.Thread(target=tell).start()
    try:
        wait()
    except KeyboardInterrupt:
        say("left", everfold.run(running))
say("goes on", everfold.get(job_id).status)
"""

AT_EXIT = """
everfold.submit(GRAPH)
states = everfold.watch(everfold.submit(GRAPH).job_id)
next(states)
def wait():
    with contextlib.suppress(ClientClosed):
        everfold.wait(everfold.submit(GRAPH).job_id)
threading.Thread(target=wait, daemon=True).start()
say("the end")
"""


Begin = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def begin(redis_url: str, namespace: str) -> Iterator[Begin]:
    """Begin programs, which end with the test at the latest: their pipes are nobody else's."""
    asyncio.run(make_namespace(redis_url, namespace))
    begun = list[subprocess.Popen[str]]()

    def begin(program: str) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-W", "default", "-c", BEGIN + program, redis_url, namespace],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(running)
        return running

    yield begin
    for running in begun:
        running.kill()
        running.communicate()


def ended(program: subprocess.Popen[str]) -> list[str]:
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    # A fork of a program with threads is what these programs try, and Python warns of it.
    told = [line for line in err.splitlines() if "multi-threaded" not in line]
    assert [line for line in told if line.strip() not in FORKS] == []
    return out.splitlines()


FORKS = {"child = os.fork()", "self.pid = os.fork()"}


def test_each_fork_opens_its_own_and_the_parent_goes_on(begin: Begin) -> None:
    assert ended(begin(FORK)) == [
        *["child queued", "a watch of the parent is refused", "ended 0"] * 3,
        "parent canceled canceled",
    ]


def test_a_fork_that_was_made_while_another_thread_opened_does_not_hang(begin: Begin) -> None:
    assert ended(begin(LOCKED_FORK)) == ["child 0"]


def test_processes_of_a_pool_share_one_line(begin: Begin) -> None:
    assert ended(begin(POOL)) == ["['0', '1', '2', '3', '4', '5']"]


def test_ctrl_c_leaves_a_call_and_nothing_of_it_runs_on(begin: Begin) -> None:
    program = begin(CTRL_C)
    assert program.stdout is not None
    for _ in range(2):
        _read_until(program.stdout, "waiting")
        _interrupt_until_left(program)
    assert ended(program) == ["goes on queued"]


def _read_until(stream: IO[str], line: str) -> None:
    assert stream.readline().strip() == line


def _interrupt_until_left(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    # Once more where nothing comes: Python itself loses one that it gets inside a finalizer.
    for _ in range(5):
        os.kill(program.pid, signal.SIGINT)
        if select.select([program.stdout], [], [], 10)[0]:
            break
    assert program.stdout.readline().strip() == "left 1"


def test_a_program_that_closes_nothing_ends_at_once(begin: Begin) -> None:
    assert ended(begin(AT_EXIT)) == ["the end"]
