"""`/budget/machines` and `/budget/forfeit`: machines that share a database, and with it each cap."""

from __future__ import annotations

from ferryman.control.access import asked as asks
from ferryman.control.access.operation import Context, Operation, Spends, Told, changing, reading
from ferryman.control.access.shown import time_of
from ferryman.control.spend_row import dollars_of
from ferryman.errors import InvalidRequest, NotFound
from ferryman.store.access import Change
from ferryman.store.access_look import Look

GONE_SECONDS = 120
"""Of silence, before what a machine was granted may be given to others; it tells of itself every 30 seconds.
One that lives spends what it was granted, whatever the database says."""


def operations() -> list[Operation]:
    """Both of them."""
    return [
        reading("GET", "/budget/machines", asks.Nothing, listed, "List machines that share this database."),
        changing(
            "/budget/forfeit",
            asks.NamedMachine,
            forfeit,
            "Give others what a machine that is gone had taken.",
        ),
    ]


def listed(_look: Look, _context: Context, _asked: asks.Nothing) -> Told:
    """All that were there and are not forfeited; none where there is only one."""
    return lambda spends: [
        {
            "machine": one.id,
            "host": one.host,
            "seen_at": time_of(one.seen_at_microseconds),
            "idle": dollars_of(one.idle_nanousd),
            "idle_nanousd": one.idle_nanousd,
        }
        for one in spends.machines()
    ]


def forfeit(change: Change, context: Context, asked: asks.NamedMachine) -> Told:
    """Take back what a machine that is gone for good has not spent, as far as its journals are read."""
    machine = next((one for one in context.spends.machines() if one.id == asked.machine), None)
    if machine is None:
        raise NotFound(f"`machine`: there is no machine `{asked.machine}`; `/budget/machines` lists them.")
    silent_seconds = (context.now_microseconds - machine.seen_at_microseconds) // 1_000_000
    if silent_seconds < GONE_SECONDS:
        raise InvalidRequest(
            f"`machine`: `{machine.id}` (`{machine.host}`) was there {max(0, silent_seconds)} s ago, and may "
            f"spend what it was granted; stop it, and try again when it was silent for {GONE_SECONDS} s."
        )
    change.note("budget", machine.id, "forfeit", {"host": machine.host, "idle_nanousd": machine.idle_nanousd})

    def told(spends: Spends) -> dict[str, object]:
        nanousd = spends.forfeit(machine.id)
        return {"machine": machine.id, "forfeited": dollars_of(nanousd), "forfeited_nanousd": nanousd}

    return told
