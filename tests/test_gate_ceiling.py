"""What makes a call dear, as the gate reads it out of a body."""

from __future__ import annotations

import pytest

from ferryman.relay.gate import asked_for

MODEL = "claude-opus-5-5"


@pytest.mark.parametrize(
    ("body", "models", "extras"),
    [
        (b'{"messages":"a fallback, \\"advisor\\" and \\"speed\\""}', 1, (False, False, False)),
        (b'{"fallbacks":[]}', 2, (False, False, False)),
        (b'{"tools":[{"type":"advisor_20260301"}]}', 2, (False, False, False)),
        (b'{"speed":"fast"}', 1, (False, True, False)),
        (b'{"inference_geo":"us","cache_control":{}}', 1, (True, False, True)),
        (b'{"sp\\u0065ed":"fast"}', 2, (True, True, True)),
    ],
)
def test_a_ceiling_takes_what_a_body_asks_for_and_not_what_it_speaks_of(
    body: bytes, models: int, extras: tuple[bool, bool, bool]
) -> None:
    names, found = asked_for(MODEL, body)
    assert (len(names), (found.cached, found.fast, found.us)) == (models, extras)
