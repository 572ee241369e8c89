"""The private directory in which processes meet: who may have it, and what is left of it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from ferryman.errors import SettingsError
from ferryman.process.directory import RuntimeDirectory, directory_of
from ferryman.settings import Settings


def refusal(directory: RuntimeDirectory) -> str:
    with pytest.raises(SettingsError) as caught:
        directory.claim()
    (problem,) = caught.value.problems
    assert problem.startswith(f"runtime_directory: `{directory.path}` ")
    assert problem.endswith("; name another place in `runtime_directory`.")
    return problem


def test_directory_is_private_and_removed(tmp_path: Path) -> None:
    directory = RuntimeDirectory(tmp_path / "base" / "4000")
    directory.release()
    (tmp_path / "base").mkdir()
    directory.path.mkdir(0o755)
    directory.claim()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert "is in use by another Ferryman" in refusal(RuntimeDirectory(directory.path))
    directory.images.mkdir()
    (directory.images / "kept").write_bytes(b"x")
    directory.release()
    assert not directory.path.exists()


def test_directory_of_another_is_not_removed(tmp_path: Path) -> None:
    mine, other = RuntimeDirectory(tmp_path / "4000"), RuntimeDirectory(tmp_path / "4000")
    other.claim()
    refusal(mine)
    mine.release()
    assert (tmp_path / "4000" / "lock").exists()
    other.release()


def test_directory_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "is no directory of this user" in refusal(RuntimeDirectory(tmp_path / "link"))
    (tmp_path / "file").write_text("")
    assert "cannot be used: " in refusal(RuntimeDirectory(tmp_path / "file"))
    assert "cannot be used: " in refusal(RuntimeDirectory(tmp_path / "file" / "4000"))


def test_directory_whose_path_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    room = 107 - len("/control.sock")
    fits = tmp_path / ("x" * (room - len(os.fsencode(tmp_path)) - 1))
    problem = refusal(RuntimeDirectory(fits.with_name(fits.name + "x")))
    assert "would have 108 bytes, and may have 107" in problem
    directory = RuntimeDirectory(fits)
    directory.claim()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory.control))
    directory.release()


def test_directory_that_was_left_is_taken_again(tmp_path: Path) -> None:
    directory = RuntimeDirectory(tmp_path / "4000")
    directory.path.mkdir(0o700)
    for path in (directory.path / "lock", directory.control):
        path.touch()
    directory.claim()
    directory.release()
    assert list(tmp_path.iterdir()) == []


def test_each_listener_has_a_directory_of_its_own(tmp_path: Path) -> None:
    settings = Settings(runtime_directory=str(tmp_path))
    assert directory_of(settings, 4001).path == tmp_path / "4001"
    assert str(directory_of(Settings(), 4000).path) == f"/tmp/ferryman-{os.geteuid()}/4000"
    sockets = [Settings(runtime_directory=str(tmp_path), unix_socket=name) for name in ("/a/b", "/a/c")]
    paths = {directory_of(one, 4000).path for one in sockets}
    assert len(paths) == 2
    assert all(path.name.startswith("unix-") for path in paths)
