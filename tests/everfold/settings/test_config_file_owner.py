"""Whose config files are taken: a file that another user could have written names no server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from everfold.commands.app import app
from everfold.commands.config.config_file import checked
from everfold.settings.client_settings import client_settings, read_client_settings
from everfold.settings.config_place import locate
from everfold.streams.archive.folder import Folder
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.errors import Misconfigured

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that holds a file of its own, below one that holds another."""
    monkeypatch.delenv("EVERFOLD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    for place in (here.parent, here):
        place.chmod(0o755)
        (place / "everfold.toml").write_text("")
        (place / "everfold.toml").chmod(0o644)
    monkeypatch.chdir(here)
    return here


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a path belong to another user, as far as this user can."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


NO_HOME = "~no-such-user-here"


@pytest.mark.parametrize(
    "use",
    [
        lambda path: client_settings(None, None, path),
        lambda path: client_settings(None, None, None, {"EVERFOLD_DATA": str(path)}),
        lambda path: read_client_settings(_file_with(f"assets = '{path}'")),
        lambda path: checked(_file_with(f"data = '{path}'"), app),
        BlobFolder,
        Folder,
    ],
    ids=["argument", "data", "key", "command", "assets", "archive"],
)
def test_a_home_of_nobody_is_refused(folder: Path, use: Callable[[str], object]) -> None:
    with pytest.raises(Misconfigured, match="names the home of no user"):
        use(f"{NO_HOME}/everfold.toml")


def test_a_named_file_in_a_home_of_nobody_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERFOLD_CONFIG", f"{NO_HOME}/everfold.toml")
    with pytest.raises(Misconfigured, match="names the home of no user"):
        locate()


def _file_with(text: str) -> Path:
    file = Path("everfold.toml")
    file.write_text(text)
    return file


def test_the_user_s_own_file_is_taken_without_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert locate() == folder / "everfold.toml"
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_of_another_user_is_left_out_and_the_next_one_taken(
    folder: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_away(folder / "everfold.toml" if what == "file" else folder, monkeypatch)
    assert locate() == folder.parent / "everfold.toml"
    assert f"{folder}/everfold.toml is left out: user {NOBODY}" in capsys.readouterr().err


def test_a_link_that_another_user_has_laid_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.toml").write_text("")
    (folder / "everfold.toml").unlink()
    (folder / "everfold.toml").symlink_to(folder / "mine.toml")
    give_away(folder / "everfold.toml", monkeypatch)
    assert locate() != folder / "everfold.toml"
    assert f"{folder}/everfold.toml is left out" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602, 0o777])
def test_a_file_that_others_may_write_to_is_refused_with_the_way_out(
    folder: Path, mode: int
) -> None:
    (folder / "everfold.toml").chmod(mode)
    with pytest.raises(
        Misconfigured, match=rf"mode {mode:o}.*chmod go-w .*everfold.toml.*name it with --config"
    ):
        locate()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o733])
def test_a_file_that_others_may_replace_is_refused_with_the_way_out(
    folder: Path, mode: int
) -> None:
    folder.chmod(mode)
    with pytest.raises(Misconfigured, match=rf"write to {folder} \(mode {mode:o}\)"):
        locate()


def test_in_a_folder_where_nobody_can_replace_the_files_of_others_one_s_own_is_taken(
    folder: Path,
) -> None:
    folder.chmod(0o1777)
    assert locate() == folder / "everfold.toml"
    (folder / "everfold.toml").chmod(0o666)
    with pytest.raises(Misconfigured, match="mode 666"):
        locate()


def test_a_named_file_is_taken_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "everfold.toml").chmod(0o666)
    monkeypatch.setenv("EVERFOLD_CONFIG", str(folder / "everfold.toml"))
    assert locate() == folder / "everfold.toml"
