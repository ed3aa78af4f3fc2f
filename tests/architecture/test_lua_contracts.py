from __future__ import annotations

import re
from pathlib import Path

import pytest

from everfold.streams.redis.script import assemble
from tests.architecture.lua_contract import LINE_LIMIT, breaches, piece_breaches
from tests.architecture.source_tree import PACKAGES, ROOT

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.lua"))
PIECES = [path for path in FILES if path.parent.name == "include"]
SCRIPTS = [path for path in FILES if path not in PIECES]
INCLUDE = re.compile(r'^--- @include "(\w+)"', re.MULTILINE)
SHARED = ROOT / "streams" / "lua"

GOOD = """#!lua
--[[
  Move an entry.

  KEYS[1]  log    STREAM
  KEYS[2]  head   HASH
  ARGV[1]  job id
  ARGV[2..] two per event: id; payload

  Returns  {"moved", seq}
           {"fenced", epoch}   the lease is over
           {"late"}            {"gone"}
]]
local log, head, job = KEYS[1], KEYS[2], ARGV[1]
local outcome = { 'moved', 1 }
if job == 'x' then return { 'fenced', 2 } end
for i = 2, #ARGV, 2 do redis.call('XADD', log, '*', 'd', ARGV[i]) end
-- Not an outcome: { 'comment' }
if head then outcome[1], outcome[2] = 'late', 3 end
return job and outcome or { log and 'gone' or 'moved' }
"""


def test_the_header_of_a_script_says_what_its_body_does() -> None:
    found = {
        script.name: breaches(script.read_text(), assemble(script.stem, (script.parent, SHARED)))
        for script in SCRIPTS
    }

    assert len(found) > 20
    assert {name: said for name, said in found.items() if said} == {}


def test_a_script_is_named_by_what_it_does_and_lies_in_the_lua_folder() -> None:
    for script in FILES:
        assert script.parent.name == ("include" if script in PIECES else "lua")
        assert script.stem.replace("_", "").isalpha()
        assert script.stem.islower()


def test_a_piece_is_functions_that_know_nothing_of_their_script() -> None:
    found = {piece.name: piece_breaches(piece.read_text()) for piece in PIECES}

    assert len(found) > 5
    assert {name: said for name, said in found.items() if said} == {}


def test_every_piece_is_included_by_two_files_or_by_one_that_would_be_too_long() -> None:
    users: dict[str, list[int]] = {piece.stem: [] for piece in PIECES}
    for file in FILES:
        for name in INCLUDE.findall(file.read_text()):
            users[name].append(_lines(file))

    needless = {
        piece.stem
        for piece in PIECES
        if len(users[piece.stem]) < 2 and sum(users[piece.stem]) + _lines(piece) < LINE_LIMIT
    }
    assert needless == set()
    assert len({piece.stem for piece in PIECES}) == len(PIECES)


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines())


# The check itself.


def test_a_kept_contract_passes() -> None:
    assert breaches(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "breach"),
    [
        ("--[[", "-- [[", "it does not begin with a header in --[[ ]]"),
        ("  Move an entry.\n\n", "", "the header does not begin with the script's purpose"),
        ("KEYS[2]  head   HASH\n", "\n", "KEYS[2] is used but not in the header"),
        ("KEYS[2], ARGV", "KEYS[1], ARGV", "KEYS[2] is in the header but not used"),
        ("KEYS[2]  head", "KEYS[3]  head", "KEYS of the header are not numbered 1, 2, 3 ..."),
        ("ARGV[2..]", "ARGV[2]  ", "ARGV are walked over, but the header has no ARGV[n..]"),
        ("ARGV[1]\nlocal", "ARGV[3]\nlocal", "ARGV[1] is in the header but not used"),
        ('{"fenced", epoch}', "", "outcome 'fenced' is returned but not in the header"),
        ("{ 'fenced', 2 }", "{}", "outcome 'fenced' is in the header but never returned"),
        ("'late', 3", "'soon', 3", "outcome 'soon' is returned but not in the header"),
        ("and 'gone' or", "and 'lost' or", "outcome 'lost' is returned but not in the header"),
        ("Returns", "Gives", "the header has no `Returns` with a named outcome"),
        ("local outcome", "\n" * 45 + "local outcome", "it has 65 lines; the limit is 59"),
    ],
)
def test_a_broken_contract_is_told(old: str, new: str, breach: str) -> None:
    assert old in GOOD

    assert breach in breaches(GOOD.replace(old, new))


def test_a_promised_walk_that_never_happens_is_told() -> None:
    text = GOOD.replace("#ARGV, 2", "9, 2").replace("ARGV[i]", "job")

    assert "ARGV[2..] is in the header, but nothing walks over ARGV" in breaches(text)


PIECE = """--- @include "now_ms"

-- Add one.
local function add(a)
  return a + 1
end

-- Take one.
local taken = {}
local function take(a)
  return a - 1
end
"""


def test_a_piece_as_it_should_be_passes() -> None:
    assert piece_breaches(PIECE) == []


@pytest.mark.parametrize(
    ("old", "new", "breach"),
    [
        ("-- Add one.\n", "", "it does not begin with a comment that says what it is for"),
        ("a + 1", "ARGV[1] + 1", "it reads KEYS or ARGV, which are its script's"),
        (
            "-- Take",
            "local x = 1\n-- Take",
            "it holds something beside local functions and what they note",
        ),
        ("-- Take", "\n" * 50 + "-- Take", "it has 62 lines; the limit is 59"),
    ],
)
def test_a_piece_that_does_more_is_told(old: str, new: str, breach: str) -> None:
    assert old in PIECE

    assert breach in piece_breaches(PIECE.replace(old, new))


def test_the_outcome_of_a_piece_is_one_of_its_script() -> None:
    assembled = GOOD.replace(
        "local log,", "local function late() return { 'early' } end\nlocal log,"
    )

    assert "outcome 'early' is returned but not in the header" in breaches(GOOD, assembled)
