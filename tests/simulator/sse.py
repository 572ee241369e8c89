"""Reads server-sent events in the plainest way, so that a test sees what was sent."""

import json
from typing import Any


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of every event, in order; comments are left out.

    Fails when an event's name is not the type in its data.
    """
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            data = json.loads(fields["data"])
            assert data["type"] == fields["event"]
            found.append(data)
    return found


def types_of(text: str) -> list[str]:
    """The type of every event, in order."""
    return [event["type"] for event in events_of(text)]


def of_type(text: str, kind: str) -> list[dict[str, Any]]:
    """The events of one type."""
    return [event for event in events_of(text) if event["type"] == kind]
