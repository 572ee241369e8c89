"""Which machine this is, for the others that share its database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ferryman.errors import SettingsError

NAME = "machine"
"""The file in `data_dir`. It goes with the journals beside it: whoever has these is this machine."""


def machine_id(data_dir: Path) -> str:
    """The id of the machine whose journals are in `data_dir`; made at the first call.

    Raises:
        SettingsError: it cannot be kept.
    """
    path = data_dir / NAME
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = data_dir / f".{NAME}.{secrets.token_hex(8)}"
        if not path.exists():
            new.write_text(f"{secrets.token_hex(8)}\n", "ascii")
            try:
                os.link(new, path)  # of two processes that start together the first has it
            except FileExistsError:
                pass
            finally:
                new.unlink()
        found = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"data_dir: `{path}` cannot be used: {error}."]) from error
    if not found:
        raise SettingsError([f"data_dir: `{path}` is empty; remove it, and its machine is a new one."])
    return found
