"""Windows of budgets: they tile the time, in every time zone, and begin where LiteLLM's do."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ferryman.limits.windows import MAX_SECONDS, Calendar, Span, parse, period, seconds_of, span

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Beirut",
     "America/Havana", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca"]
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(["1s", "30s", "30m", "90m", "150m", "1h", "5h", "6h", "24h", "30h", "86400s", "1d", "7d",
                     "10d", "30d", "31d", "1w", "2w", "1mo", "3mo", "7mo", "12mo", ""]),
    st.builds(lambda count, unit: f"{count}{unit}", st.integers(1, 400), st.sampled_from(["m", "h", "d"])),
)  # fmt: skip
ANCHORS = st.sampled_from(["", "2026-11-22", "2024-02-29", "2031-01-31"])
NOWS = st.integers(1_000_000_000, 2_200_000_000)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())


@given(WORDS, ANCHORS, ZONES, NOWS)
@example("30m", "", "Europe/Berlin", at("2026-03-29T01:59:59"))
@example("150m", "", "Europe/Berlin", at("2026-03-29T03:00:00"))
@example("1d", "", "Pacific/Apia", 1_325_239_199)
def test_now_is_within_and_neighbours_touch(word: str, anchor: str, name: str, now: int) -> None:
    zone = ZoneInfo(name)
    found = span(word, anchor, zone, now)
    assert found == span(word, anchor, zone, now)
    if found.end is None:
        assert (word, found.start) == ("", 1)
        return
    assert found.start <= now < found.end
    for moment in (found.start, found.end - 1, (found.start + found.end) // 2, found.end - 0.001):
        assert span(word, anchor, zone, moment) == found
    assert span(word, anchor, zone, found.end).start == found.end
    assert span(word, anchor, zone, found.start - 1).end == found.start


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut"])
@pytest.mark.parametrize("word", ["45m", "1h", "5h", "1d", "7d", "10d", "30d", "3mo", "30h"])
def test_windows_tile_three_years(name: str, word: str) -> None:
    zone, calendar = ZoneInfo(name), Calendar(name)
    now, end = 1_767_225_600, 1_767_225_600 + 3 * 366 * 86_400
    if word in ("45m", "1h"):
        now, end = at("2026-03-01T00:00", zone), at("2026-04-10T00:00", zone)
    while now < end:
        found = calendar.span(word, "", now)
        assert found == span(word, "", zone, found.start)
        assert found.end is not None
        assert found.start <= now < found.end
        now = found.end


@pytest.mark.parametrize(
    ("word", "anchor", "start", "end"),
    [
        ("30s", "", "2026-11-22T15:07:30", "2026-11-22T15:08:00"),
        ("30m", "", "2026-11-22T15:00", "2026-11-22T15:30"),
        ("5h", "", "2026-11-22T15:00", "2026-11-22T20:00"),
        ("7h", "", "2026-11-22T14:00", "2026-11-22T21:00"),
        ("1d", "2026-11-20", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("24h", "", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("7d", "2026-11-20", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("1w", "", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("30d", "2026-11-20", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("1mo", "", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("3mo", "", "2026-10-01T00:00", "2027-01-01T00:00"),
        ("3mo", "2026-09-15", "2026-09-01T00:00", "2026-12-01T00:00"),
        ("10d", "2026-11-20", "2026-11-20T00:00", "2026-11-30T00:00"),
        ("10d", "2026-11-24", "2026-11-14T00:00", "2026-11-24T00:00"),
        ("2w", "2026-11-20", "2026-11-20T00:00", "2026-12-04T00:00"),
    ],
)
def test_windows_begin_where_litellms_do(word: str, anchor: str, start: str, end: str) -> None:
    assert span(word, anchor, BERLIN, at("2026-11-22T15:07:31")) == Span(at(start), at(end))


def test_last_window_of_a_day_ends_with_it() -> None:
    found = span("5h", "", BERLIN, at("2026-11-22T23:00"))
    assert found == Span(at("2026-11-22T20:00"), at("2026-11-23T00:00"))


def test_days_on_which_clocks_change_have_23_and_25_hours() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        found = span("1d", "", BERLIN, at(f"{day}T12:00"))
        assert found.end is not None
        assert found.end - found.start == hours * 3_600
        night = span("6h", "", BERLIN, at(f"{day}T05:00"))
        assert night == Span(at(f"{day}T00:00"), at(f"{day}T06:00"))
        assert sum(
            1 for hour in range(found.start, found.end, 3_600) if hour == span("1h", "", BERLIN, hour)[0]
        )


def test_window_of_the_hour_that_is_left_out_begins_after_it() -> None:
    after = at("2026-03-29T03:00")
    assert span("150m", "", BERLIN, after) == Span(after, at("2026-03-29T05:00"))
    assert span("150m", "", BERLIN, after - 1) == Span(at("2026-03-29T00:00"), after)


def test_hour_that_comes_twice_has_two_windows() -> None:
    first = at("2026-10-25T02:00")
    assert span("1h", "", BERLIN, first + 60) == Span(first, first + 3_600)
    assert span("1h", "", BERLIN, first + 3_660) == Span(first + 3_600, first + 7_200)


@pytest.mark.parametrize(
    "word", ["", "1", "d", "0d", "-1d", "1.5h", "1 d", "1D", "1y", "٣d", "1d ", "200000000m"]
)
def test_what_is_no_duration_is_refused_in_a_sentence(word: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse(word)


@given(st.integers(1, MAX_SECONDS), st.sampled_from(["s", "m", "h", "d", "w", "mo"]))
def test_what_can_be_read_is_at_most_a_hundred_years(count: int, unit: str) -> None:
    try:
        seconds = seconds_of(f"{count}{unit}")
    except ValueError:
        assert count * {"s": 1, "m": 60, "h": 3_600}.get(unit, 86_400) > 0
    else:
        assert count <= seconds <= MAX_SECONDS


def test_seconds_of_keys_lives() -> None:
    words = ["30s", "30m", "30h", "30d", "1mo", "2w"]
    assert [seconds_of(word) for word in words] == [30, 1_800, 108_000, 2_592_000, 2_592_000, 1_209_600]


def test_nearest_period_is_named() -> None:
    assert {period(word) for word in ("1h", "1d", "2d")} == {"daily"}
    assert {period(word) for word in ("3d", "7d", "1w", "2w")} == {"weekly"}
    assert {period(word) for word in ("15d", "30d", "1mo", "12mo", "")} == {"monthly"}


def test_calendar_is_bounded() -> None:
    calendar = Calendar("Europe/Berlin")
    for count in range(1, 3_000):
        calendar.span(f"{count}m", "", 1_795_334_400)
    assert len(calendar._spans) <= 1_024


def test_unknown_time_zone_is_refused() -> None:
    with pytest.raises(KeyError):
        Calendar("Europe/Atlantis")
