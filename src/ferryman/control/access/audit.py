"""`GET /audit`: who has changed what."""

from __future__ import annotations

from ferryman.control.access import asked as asks
from ferryman.control.access.operation import Context, Operation, Told, reading
from ferryman.control.access.shown import audit_row
from ferryman.store import schema_access as schema
from ferryman.store.access_look import Look


def operations() -> list[Operation]:
    """The one there is."""
    return [reading("GET", "/audit", asks.AuditAsked, listed, "List changes: who, what, before and after.")]


def listed(look: Look, _context: Context, asked: asks.AuditAsked) -> Told:
    """A page of changes, latest first."""
    table = schema.audit.c
    wanted = {"kind": asked.kind, "object_id": asked.object_id, "actor": asked.actor}
    conditions = [table[name] == value for name, value in wanted.items() if value is not None]
    rows, total = look.audit(conditions, limit=asked.size, skip=(asked.page - 1) * asked.size)
    told = {
        "audit": [audit_row(row) for row in rows],
        "total_count": total,
        "current_page": asked.page,
        "total_pages": -(-total // asked.size),
    }
    return lambda _spends: told
