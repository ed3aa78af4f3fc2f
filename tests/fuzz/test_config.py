# Any config file gives the settings that it has, or a sentence that names the key or the place of
# each mistake and shows no value.

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example
from hypothesis import strategies as st

from everfold.commands.app import app
from everfold.commands.config.config import effective
from everfold.commands.config.config_file import check_file
from everfold.commands.config.settings import Setting, all_settings
from everfold.streams.errors import Misconfigured
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import spoiled

MARK = "Zx9Qv"
SETTINGS: list[Setting] = list(all_settings(app))
KEYS = sorted({f"{setting.name}" for setting in SETTINGS})
TABLES = sorted({".".join(setting.command) for setting in SETTINGS} - {""})

VALUES = st.recursive(
    st.sampled_from(
        (
            *("true", "0", "-1", "1.5", "inf", "nan", "-nan", "1e308", "9" * 400, "0x7f"),
            *(f'"{MARK}"', f'"redis://ada:{MARK}@h:1/0"', '""', '"5s"', '"2h"', '"high"'),
            *('"\\u0000"', '"\\n"', '"http://h:1"', "07:32:00", "1979-05-27", '"x.json"', '"📦"'),
        )
    )
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | inner.map(lambda value: f"{{x = {value}}}")
    ),
    max_leaves=4,
)  # fmt: skip
NAMES = st.sampled_from(KEYS) | st.sampled_from(
    ("x", '""', '"a b"', '"\\u001b[2J"', "json", "namespac", "a.b", '"--json"', "submit", "é")
)
LINES = st.builds(lambda name, value: f"{name} = {value}", NAMES, VALUES) | st.builds(
    "[{}]".format, st.sampled_from(TABLES) | NAMES
)
FILES = st.lists(LINES, max_size=5).map(lambda lines: "\n".join(lines).encode())
DEEP = st.sampled_from(
    (b"a=" + b"[" * 5000, b"a" + b".a" * 5000 + b"=1", b"a=" + b"{a=" * 3000, b"[" * 5000)
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "everfold.toml"


@fuzz(few=60, text=FILES | FILES | spoiled(FILES) | st.binary(max_size=40) | DEEP)
# Nested deeper than Python's stack: as lists, and by a dotted key.
@example(text=b"a=" + b"[" * 5000)
@example(text=b"a" + b".a" * 5000 + b"=1")
def test_a_config_file_is_understood_or_its_mistakes_are_named(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    try:
        found = check_file(file, app)
    except Misconfigured as error:
        told = [str(error)]
        assert "is not TOML: " in told[0]
    else:
        told = found.problems
        assert all(re.search(r"`.*`|\[.*\]", problem) for problem in told), told
        if found.values and not told:
            assert f"ada:{MARK}" not in repr(list(effective(found, file.name)))
    assert not [each for each in told if MARK in each]
    assert not [each for each in told if len(each) > 2000]
