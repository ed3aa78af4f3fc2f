"""The audit: no licence slips through, and what was not checked is not called checked."""

from __future__ import annotations

import pytest

from supply_chain.audit import Advisory, Audited, Report, is_allowed, licences, refused, told
from supply_chain.lock_file import Locked, read_lock


def test_every_package_that_is_locked_may_be_used() -> None:
    found = licences(read_lock("run"))

    assert refused(found) == {}
    assert found["msgspec"] == "BSD-3-Clause"
    assert found["certifi"] == "MPL-2.0"


@pytest.mark.parametrize(
    ("expression", "is_right"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MITX", False),
        ("no licence named", False),
        ("not installed", False),
    ],
)
def test_a_licence_is_allowed_only_by_the_list(expression: str, is_right: bool) -> None:
    assert (refused({"package": expression}) == {}) is is_right
    assert is_allowed(expression) is is_right


def test_a_package_that_is_not_here_is_refused_unless_it_is_for_other_platforms() -> None:
    hashes, via = ("0" * 64,), ("everfold",)
    here = Locked("no-such-package", "1", "", hashes, via)
    elsewhere = Locked("no-such-package", "1", "sys_platform == 'win32'", hashes, via)

    assert refused(licences([here])) == {"no-such-package": "not installed"}
    assert refused(licences([elsewhere])) == {}


def test_what_was_not_checked_is_not_called_checked() -> None:
    report = Report(
        [
            Audited("a", "1", [Advisory("PYSEC-1"), Advisory("PYSEC-2")]),
            Audited("b", "2"),
            Audited("c", skip_reason="not found"),
        ]
    )

    assert told(report) == [
        "advisories: 2 of 3 packages checked",
        "  1 not checked from here, such as: not found",
        "  a 1: PYSEC-1",
        "  a 1: PYSEC-2",
    ]
