"""Points in time, as prices and records have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ferryman.moments import Moments

YEAR_3000 = 32_503_680_000
SECONDS = st.integers(0, YEAR_3000) | st.floats(0, YEAR_3000)


@given(moments=st.lists(SECONDS, max_size=5))
def test_a_moment_is_told_to_the_microsecond_whatever_was_asked_before(moments: list[float]) -> None:
    made = Moments()
    for seconds in moments:
        exact = datetime.fromtimestamp(seconds, UTC)
        assert made.second(seconds) == exact.replace(microsecond=0) or exact.microsecond == 0
        assert abs(made.second(seconds) - exact) <= timedelta(seconds=1)
        told = made.json(seconds)
        decoded = msgspec.json.decode(told, type=datetime)
        assert abs(decoded - exact) <= timedelta(microseconds=1)
        assert told == msgspec.json.encode(decoded)
