from __future__ import annotations

import pytest

from tests.architecture.lua_contract import breaches
from tests.architecture.source_tree import PACKAGES, ROOT

SCRIPTS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.lua"))

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
    found = {script.name: breaches(script.read_text()) for script in SCRIPTS}

    assert len(found) > 20
    assert {name: said for name, said in found.items() if said} == {}


def test_a_script_is_named_by_what_it_does_and_lies_in_the_lua_folder() -> None:
    for script in SCRIPTS:
        assert script.parent.name == "lua"
        assert script.stem.replace("_", "").isalpha()
        assert script.stem.islower()


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
