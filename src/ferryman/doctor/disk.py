"""The directories that Ferryman writes to: there, ours, and with room."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ferryman.control.ledger import STORED_SUFFIX
from ferryman.doctor.finding import Finding, ok, problem, warning
from ferryman.errors import SettingsError
from ferryman.ledger.files import is_written, segment_numbers
from ferryman.settings import Settings
from ferryman.settings_store import SqliteFile, database, journal_directory

TRIAL_BYTES = 1 << 16
"""Written, forced to the disk and removed: a full or failing disk shows itself in that."""

LEAST_BYTES = 100_000_000
"""A tenth of a million entries: a busy gateway writes them in an hour."""

WANTED_BYTES = 1_000_000_000
"""A million entries, of about 1 KB with their journal and their indexes."""


def disk_checks(settings: Settings, *, running: bool) -> list[Finding]:
    """Look at the directories of journals and of the database; `running` tells whether Ferryman does."""
    try:
        journals = journal_directory(settings)
        target = database(settings)
    except SettingsError as error:
        return [problem("data", text.rstrip("."), "name a directory there") for text in error.problems]
    found = [directory_check("data", journals.parent, "data_dir")]
    if isinstance(target, SqliteFile) and target.directory is None:
        place = target.path.absolute().parent
        if place.is_dir():
            found.append(directory_check("database place", place, "database_url"))
        else:
            detail = f"there is no directory `{place}` for the database"
            found.append(problem("database place", detail, "make it, or name another in `database_url`"))
    if not running and (waiting := unread_journals(journals)):
        detail = f"journals of killed workers that are not in the database yet: {waiting}"
        found.append(warning("journals", detail, "start Ferryman, which brings them there"))
    return found


def directory_check(check: str, path: Path, setting: str) -> Finding:
    """Whether `path`, which `setting` names, can be written to or be made, and has room."""
    place = next((each for each in (path, *path.absolute().parents) if os.path.lexists(each)), path)
    if not place.is_dir():
        return problem(check, f"`{place}` is no directory", f"remove it, or name another in `{setting}`")
    try:
        _try(place)
        room = os.statvfs(place)
    except OSError as error:
        detail = f"`{place}` cannot be written to ({error.strerror or error})"
        return problem(check, detail, advice_on(error, setting))
    free_bytes = room.f_bavail * room.f_frsize
    if free_bytes < LEAST_BYTES or (room.f_files and not room.f_favail):
        what = f"has only {size(free_bytes)} free" if free_bytes < LEAST_BYTES else "takes no more files"
        advice = "make room; on a full disk the journal stops, and callers with it"
        return problem(check, f"`{place}` {what}", advice)
    detail = f"`{path}`, {size(free_bytes)} free" + ("" if place == path else ", made at the first start")
    if free_bytes < WANTED_BYTES:
        return warning(check, detail, "a million entries take about 1 GB; make room in time")
    return ok(check, detail)


def _try(place: Path) -> None:
    with tempfile.NamedTemporaryFile(prefix=".ferryman-doctor-", dir=place) as file:
        file.write(b"\0" * TRIAL_BYTES)
        file.flush()
        os.fsync(file.fileno())


def advice_on(error: OSError, setting: str) -> str:
    """What to do about a directory that cannot be written to."""
    if isinstance(error, PermissionError):
        return (
            f"give it to user {os.geteuid()}, run this as the user that Ferryman runs as, or set `{setting}`"
        )
    return f"make room or mend the disk, or name another place in `{setting}`"


def unread_journals(journals: Path) -> int:
    """How many journals wait that nobody writes."""
    try:
        return sum(
            1
            for path in journals.iterdir()
            if path.is_dir()
            and path.suffix != STORED_SUFFIX
            and segment_numbers(path)
            and not is_written(path)
        )
    except OSError:  # there is none yet, or it cannot be read, which was said
        return 0


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit, each in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= each:
            return f"{count / each:.3g} {unit}"
    return f"{count / 1000:.0f} KB"
