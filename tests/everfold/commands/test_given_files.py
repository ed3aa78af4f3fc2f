"""What goes with a workflow on the command line, and that no key is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.commands.jobs.given_files import GivenFiles
from everfold.streams.errors import Refused

KEY = "comfyui-SECRET-0123456789abcdef"
NAME = "api_key_comfy_org"


def test_extra_data_is_a_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "extra.json"
    file.write_text('{"preview_method": "auto"}\n')
    for given in ('{"preview_method":"auto"}', str(file)):
        assert GivenFiles(extra_data=given).read().extra_data == {"preview_method": "auto"}
    assert GivenFiles().read().extra_data == {}


def test_a_key_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    given = GivenFiles(partner_key_file=[f"{NAME}={file}"]).read()
    assert given.partner_keys[NAME].reveal() == KEY
    assert KEY not in repr(given)
    monkeypatch.setenv("EVERFOLD_PARTNER_AUTH_TOKEN_COMFY_ORG", KEY)
    assert GivenFiles().read().partner_keys["auth_token_comfy_org"].reveal() == KEY


@pytest.mark.parametrize(
    "files",
    [
        GivenFiles(extra_data="/nowhere"),
        GivenFiles(extra_data="{"),
        GivenFiles(extra_data='{"api_key_comfy_org": "' + KEY),
        GivenFiles(extra_data="/dev/null"),
        GivenFiles(extra_data="/dev/zero"),
        GivenFiles(partner_key_file=[KEY]),
        GivenFiles(partner_key_file=[f"{KEY}=x"]),
        GivenFiles(partner_key_file=[f"{NAME}={KEY}"]),
        GivenFiles(partner_key_file=[f"{NAME}=/dev/zero"]),
    ],
    ids=range(9),
)
def test_a_refusal_shows_no_key(files: GivenFiles) -> None:
    with pytest.raises(Refused) as refusal:
        files.read()
    assert KEY not in f"{refusal.value} {refusal.value.__cause__!r}"
