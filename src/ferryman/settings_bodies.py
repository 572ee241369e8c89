"""The settings about the bodies of requests and answers: whether they are kept, how much, and how long."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ferryman.settings_images import ImageSettings
from ferryman.settings_row import setting
from ferryman.wording import shown

_NAME = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
MAX_PATTERNS = 100
"""Each goes over every text that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BodySettings(ImageSettings):
    """A part of `ferryman.settings.Settings`."""

    log_bodies: Literal["off", "redacted", "full"] = setting(
        "off",
        "Whether the bodies of Messages requests and their answers are kept in the database: `redacted` is "
        "without credentials, e-mail addresses, images and documents. A key's own `log_bodies` goes first.",
    )
    log_bodies_max_bytes: int = setting(
        262_144,
        "How much of each body is kept, as it goes over the wire.",
        at_least=1_024,
        at_most=4_194_304,
    )
    log_bodies_redact: Mapping[str, str] | None = setting(
        None,
        "What `redacted` leaves out beside that: regular expressions of Python's, by names of your own "
        "that stand in the place of what they match.",
        example="{employee: 'E-[0-9]{6}'}",
    )
    log_bodies_redact_fields: str | None = setting(
        None,
        "Members of JSON objects whose values `redacted` leaves out, wherever they stand: names with commas "
        "between them (in the file also a list), such as `system,tools`.",
        many=True,
    )
    bodies_retention_days: int = setting(
        7,
        "Bodies are deleted when they are this many days old; never later than their entries.",
        at_least=1,
        at_most=36_500,
    )


def body_problems(settings: BodySettings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with them: the settings it is about, and a sentence without its full stop."""
    patterns = settings.log_bodies_redact or {}
    if len(patterns) > MAX_PATTERNS:
        yield {"log_bodies_redact"}, f"there are {len(patterns)} patterns; at most {MAX_PATTERNS}"
    for name, text in patterns.items():
        if not _NAME.fullmatch(name):
            yield {"log_bodies_redact"}, f"{shown(name)} is no name; wanted letters, digits, `_` and `-`"
        try:
            matches_nothing = re.compile(text).fullmatch("") is not None
        except (re.error, OverflowError, RecursionError) as error:
            yield {"log_bodies_redact"}, f"`{name}` is no regular expression: {error}"
        else:
            if matches_nothing:
                yield {"log_bodies_redact"}, f"`{name}` matches the empty text, and so stands everywhere"


def redacted_fields(settings: BodySettings) -> frozenset[str]:
    """The names in `log_bodies_redact_fields`."""
    words = (word.strip() for word in (settings.log_bodies_redact_fields or "").split(","))
    return frozenset(word for word in words if word)
