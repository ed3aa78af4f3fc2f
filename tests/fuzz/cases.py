"""How a target is fuzzed: the same few cases each time in the suite, many new ones in `make fuzz`.

EVERFOLD_FUZZ_EXAMPLES and EVERFOLD_FUZZ_MINUTES bound each target in `make fuzz`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable

from _pytest.outcomes import Skipped
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

FEW = 100
EXAMPLES = int(os.environ.get("EVERFOLD_FUZZ_EXAMPLES") or FEW)
MINUTES = float(os.environ.get("EVERFOLD_FUZZ_MINUTES") or 0)
"""0 for no limit."""

Test = Callable[..., None]

_LONG = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
_SHORT = settings(
    _LONG,
    max_examples=FEW,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)

cases: dict[str, int] = {}
"""Target -> how many cases it was given."""


class TimeIsUp(Skipped):
    """Ends a target at its time limit: Hypothesis lets it pass, where it would repeat an error."""


def fuzz(*, few: int = FEW, **strategies: SearchStrategy[object]) -> Callable[[Test], Test]:
    """Make a test of one case a target. Its other arguments are fixtures of a whole module.

    `few` is how many cases the suite gives it: less for one whose cases take long.
    """

    def targeted(test: Test) -> Test:
        name, until_s = test.__name__, float("inf")

        @functools.wraps(test)
        def case(*arguments: object, **named: object) -> None:
            if time.monotonic() > until_s:
                raise TimeIsUp(f"{name}: {MINUTES} minutes are over")
            cases[name] += 1
            test(*arguments, **named)

        given_cases = (_LONG if EXAMPLES != FEW else settings(_SHORT, max_examples=few))(
            given(**strategies)(case)
        )

        @functools.wraps(given_cases)
        def target(*arguments: object, **named: object) -> None:
            nonlocal until_s
            cases[name] = 0
            until_s = time.monotonic() + 60 * MINUTES if MINUTES else float("inf")
            with contextlib.suppress(TimeIsUp):
                given_cases(*arguments, **named)

        return target

    return targeted
