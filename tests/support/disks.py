"""Disks that cannot do what a local one can."""

from __future__ import annotations

import errno
import os
import stat

import pytest


def sync_no_folder(monkeypatch: pytest.MonkeyPatch, why: int = errno.EINVAL) -> None:
    """Let the sync of a folder fail as it does at some network shares; files are synced."""
    sync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(why, os.strerror(why))
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
