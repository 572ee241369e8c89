"""The values that pass between the steps of an exchange."""

from __future__ import annotations

import uuid

import msgspec
from hypothesis import given, strategies

from ferryman.ids import Ids
from ferryman.model import CacheCreation, Entry, OutputTokensDetails, ServerToolUse, Usage

TIMES = strategies.floats(min_value=0, max_value=(2**48 - 1) / 1000)

IDS = Ids()

COUNTS = strategies.none() | strategies.integers(min_value=0)
USAGES = strategies.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cache_read_input_tokens=COUNTS,
    cache_creation=strategies.none() | strategies.builds(CacheCreation, COUNTS, COUNTS),
    server_tool_use=strategies.none() | strategies.builds(ServerToolUse, COUNTS, COUNTS),
    service_tier=strategies.none() | strategies.text(),
    iterations=strategies.none() | strategies.just([msgspec.Raw(b"{}")]),
)


@given(earlier=USAGES, later=USAGES)
def test_updated_usage_has_every_field_that_came_later_and_keeps_the_others(
    earlier: Usage, later: Usage
) -> None:
    updated = earlier.updated(later)
    for name in Usage.__struct_fields__:
        came = getattr(later, name)
        assert getattr(updated, name) == (getattr(earlier, name) if came is None else came)


def test_zero_that_came_later_replaces_a_count() -> None:
    """`message_delta` says what is, not what is added."""
    usage = Usage(input_tokens=5, output_tokens=1).updated(Usage(input_tokens=0, output_tokens=9))
    assert usage == Usage(input_tokens=0, output_tokens=9)


def test_usage_that_is_updated_is_a_new_one() -> None:
    usage = Usage(output_tokens=1)
    usage.updated(Usage(output_tokens=2))
    assert usage.output_tokens == 1
    assert usage.updated(Usage()) == usage


def test_usage_keeps_anthropics_names_and_leaves_out_what_was_not_there() -> None:
    text = (
        b'{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":2},'
        b'"server_tool_use":{"web_search_requests":3},"output_tokens_details":{"thinking_tokens":4},'
        b'"iterations":[{"any": "shape"},2]}'
    )
    usage = msgspec.json.decode(text, type=Usage)
    assert usage.output_tokens_details == OutputTokensDetails(4)
    assert usage.iterations is not None
    assert bytes(usage.iterations[0]) == b'{"any": "shape"}'
    assert usage.output_tokens is None
    assert msgspec.json.encode(usage) == text


@given(seconds=TIMES)
def test_id_is_a_uuid_of_version_7_with_its_time(seconds: float) -> None:
    text = IDS.next(seconds)
    made = uuid.UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(seconds * 1000)


@given(one=TIMES, other=TIMES)
def test_ids_sort_by_the_millisecond(one: float, other: float) -> None:
    if int(one * 1000) != int(other * 1000):
        assert (IDS.next(one) < IDS.next(other)) == (one < other)


def test_ids_of_one_moment_differ() -> None:
    made = [IDS.next(1_800_000_000.0) for _ in range(10_000)]
    assert len(set(made)) == len(made)
    bits = [uuid.UUID(text).int for text in made]
    for position in [*range(62), *range(64, 76)]:  # all that is not time, version or variant
        ones = sum(value >> position & 1 for value in bits)
        assert 4_000 < ones < 6_000, f"bit {position} is hardly random"


def test_ids_of_two_makers_differ() -> None:
    """Each is seeded by itself, so workers need not know of each other."""
    one, other = Ids(), Ids()
    assert {one.next(1.0) for _ in range(1_000)}.isdisjoint(other.next(1.0) for _ in range(1_000))


def test_entry_can_be_read_back() -> None:
    line = (
        b'{"id":"a","started_at":"2026-11-21T09:08:07Z","method":"GET","path":"/","request_bytes":0,'
        b'"ended":"timeout","attempts":1,"usage_complete":true,"response_bytes":0,"duration_seconds":1.0}'
    )
    assert msgspec.json.encode(msgspec.json.decode(line, type=Entry)) == line
