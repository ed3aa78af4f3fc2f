from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import everfold
from tests.support.programs.forked import ForkServer
from tests.support.programs.programs import StartProgram, programs
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

ENDS = """
import atexit, sys, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.exit("why")
"""
SLEEPS = "import time; print('awake'); time.sleep(60)"
STATES = "import sys; print(__name__, sys.argv, repr(sys.path[0]), sys.stdin.read()); sys.exit(3)"


@pytest.fixture(params=[True, False], ids=["forked", "started anew"])
def start_program(
    request: pytest.FixtureRequest, fork_server: ForkServer
) -> Iterator[StartProgram]:
    with programs(fork_server=fork_server if request.param else None) as start:
        yield start


async def test_code_is_the_main_module_with_its_arguments(start_program: StartProgram) -> None:
    program = start_program("-c", STATES, "--one", "two")

    assert await program.end() == 3
    assert program.lines == ["__main__ ['-c', '--one', 'two'] '' "]


async def test_a_module_is_the_main_module_with_its_arguments(start_program: StartProgram) -> None:
    program = start_program("-m", "everfold", "--version")

    assert (await program.end(), program.lines) == (0, [everfold.__version__])


async def test_an_exception_is_printed_and_the_exit_code_is_one(
    start_program: StartProgram,
) -> None:
    program = start_program("-c", "raise ValueError('wrong')")

    assert await program.end() == 1
    assert program.error_lines[-1] == "ValueError: wrong"


async def test_an_end_waits_for_threads_and_calls_what_is_registered(
    start_program: StartProgram,
) -> None:
    program = start_program("-c", ENDS)

    assert await program.end() == 1
    assert (program.lines, program.error_lines) == (["thread", "at exit"], ["why"])


async def test_lines_are_seen_while_the_program_runs(start_program: StartProgram) -> None:
    program = start_program("-c", SLEEPS)

    assert await program.line("awake") == "awake"
    assert program.exit_code is None


async def test_a_real_signal_ends_it_and_the_exit_code_says_which(
    start_program: StartProgram,
) -> None:
    program = start_program("-c", SLEEPS)
    await program.line("awake")

    program.send(signal.SIGTERM)

    assert await program.end() == -signal.SIGTERM


async def test_a_program_that_ends_without_the_line_fails_with_all_it_printed(
    start_program: StartProgram,
) -> None:
    program = start_program("-c", "import sys; print('one'); print('two', file=sys.stderr)")

    with pytest.raises(AssertionError, match=r"(?s)exit code 0.*one.*two"):
        await program.line("never")


async def test_a_lot_of_output_does_not_block_it(start_program: StartProgram) -> None:
    program = start_program("-c", "for n in range(100_000): print(n)")

    assert await program.end() == 0
    assert program.lines == [str(n) for n in range(100_000)]


async def test_the_environment_is_extended_not_replaced(start_program: StartProgram) -> None:
    code = "import os; print(os.environ['EXTRA'], 'PATH' in os.environ)"

    assert await start_program("-c", code, environ={"EXTRA": "yes"}).line() == "yes True"


async def test_every_program_is_ended_with_the_test() -> None:
    with programs() as start:
        stubborn = start("-c", f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEPS}")
        await stubborn.line("awake")
        stubborn.send(signal.SIGSTOP)

    assert stubborn.exit_code == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(stubborn.pid, 0)


async def test_lines_of_before_can_be_passed_over(start_program: StartProgram) -> None:
    program = start_program("-c", "print('tick 1'); print('tick 2')")

    await eventually(lambda: len(program.lines) == 2)

    assert await program.line("tick", after=1) == "tick 2"
