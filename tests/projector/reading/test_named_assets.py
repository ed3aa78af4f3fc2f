"""An asset that a job names anywhere in its outputs is one that the sweeper leaves."""

from __future__ import annotations

import pytest

from everfold.projector.reading.named_assets import asset_ids
from everfold.runner.decisions.output_files import collected, file_of, references
from everfold.streams.assets.asset import Asset

FILE = {"filename": "a.png", "subfolder": "", "type": "output"}


def asset(name: str) -> Asset:
    given = {"hash": f"blake3:{name}", "size_bytes": 1, "media_type": "image/png", "name": name}
    return Asset(id=name, owner="", created_ms=1, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "output",
    [
        {"images": [FILE]},
        {"images": [[FILE]]},
        {"result": {"images": [FILE]}},
        {"files": [{"group": [{"inner": FILE}]}]},
    ],
)
def test_every_file_that_is_stored_is_found_again(output: dict[str, object]) -> None:
    (reference,) = references(output)
    file = file_of(reference)
    named = collected({"9": output}, {file: asset("large")}, {file: asset("small")})
    assert set(asset_ids(named)) == {"large", "small"}
