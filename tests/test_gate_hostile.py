"""Callers who would pass their limits by what they write: numbers, names and bodies that nobody sends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferryman.limits.habits import Habit
from ferryman.limits.patterns import MAX_MODEL_CHARACTERS, compiled
from ferryman.limits.spec import Budget
from tests.conftest import Bench
from tests.support.edge import answering
from tests.support.gateway import HeldClock
from tests.test_gate import MODEL, NOBODY, USD, Till, key_scope
from tests.test_keys_on_the_line import ask, error_of, guarded, spec, with_key

BATCHES = b"/v1/messages/batches"
MADE = answering(b'{"id":"batch_1","results_url":null}')


@pytest.fixture
def till(line: Bench, short: Path, clock: HeldClock) -> Iterator[Till]:
    made = Till(line, short, clock)
    yield made
    line.close()
    made.table.close()


def of_all(till: Till, budget: Budget, **options: object) -> None:
    """Start with a key that sees what all have made, so that nothing else reads its bodies."""
    till.open(**options)  # type: ignore[arg-type]
    till.gateway.tell([spec(scopes=["key:laptop"], sees="all")], [key_scope(budgets=[budget])], NOBODY)


@pytest.mark.parametrize("max_tokens", ["-1000000", "-" + "9" * 30, "9" * 30])
def test_no_number_of_tokens_gives_others_room(till: Till, max_tokens: str) -> None:
    limit = till.limit("output_tokens", 2_000)
    till.open(key_scope(limits=[limit]))
    body = f'{{"model":"{MODEL}","max_tokens":{max_tokens}}}'.encode()
    assert till.ask(body).status == 200
    assert till.used(limit) == 10
    assert Habit().output_tokens(int(max_tokens)) >= 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"requests":[{"params":{"model":"claude-opus-5-5","max_tokens":NaN}}]}', id="NaN"),
        pytest.param(b'{"requests":{}}', id="no list"),
        pytest.param(
            '{"requests":[{"params":{"model":"claude-opus-5-5","max_tokens":5}}]}'.encode("utf-16"),
            id="UTF-16",
        ),
        pytest.param(b"{}", id="nothing"),
    ],
)
def test_a_batch_whose_cost_cannot_be_told_is_not_for_a_key_with_a_budget(till: Till, body: bytes) -> None:
    of_all(till, till.budget(0), script=MADE)
    answer = till.ask(body, path=BATCHES)
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert "cannot be told" in error_of(answer)[2]
    assert not till.upstream.requests


def test_a_call_in_a_coding_that_hides_its_size_is_not_for_a_key_with_a_budget(till: Till) -> None:
    of_all(till, till.budget(1_000 * USD))
    answer = till.ask(b"\x28\xb5\x2f\xfd", headers=b"Content-Encoding: zstd\r\n")
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert "`Content-Encoding: zstd`" in error_of(answer)[2]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"claude-opus-5-5","max_tokens":NaN}',
        b'{"model":["claude-opus-5-5"]}',
        b'{"max_tokens":5}',
        b'{"model":"claude-opus-5-5%b"}' % (b" " * MAX_MODEL_CHARACTERS),
    ],
)
def test_a_model_that_cannot_be_read_is_held_to_what_is_set_on_each(till: Till, body: bytes) -> None:
    till.open(key_scope(budgets=[till.budget(0, model="claude-opus-*")]))
    assert error_of(till.ask(body))[:2] == (429, "billing_error")
    haiku = b'{"model":"claude-haiku-4-5","max_tokens":5}'
    assert till.ask(haiku).status == 200


@pytest.mark.parametrize(
    ("field", "request_body"),
    [
        ("model", b'{"params":{"model":"claude-opus-5-5","model":"claude-haiku-4-5"}}'),
        ("model", b'{"params":{"mode\\u006c":"claude-opus-5-5","model":"claude-haiku-4-5"}}'),
        ("params", b'{"params":{"model":"claude-opus-5-5"},"params":{"model":"claude-haiku"}}'),
        ("max_tokens", b'{"params":{"model":"claude-haiku-4-5","max_tokens":9,"max_tokens":1}}'),
        ("requests", b'{"params":{"model":"o"}}],"requests":[{"params":{"model":"claude-haiku"}}'),
    ],
)
def test_what_stands_twice_in_a_batch_is_refused(line: Bench, field: str, request_body: bytes) -> None:
    gateway, upstream = guarded(line, spec(models=[["claude-haiku*"]]))
    answer = ask(gateway, with_key(b'{"requests":[%b]}' % request_body, path=BATCHES))
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert f"`{field}` stands more than once" in error_of(answer)[2]
    assert not upstream.requests


def test_two_ways_to_read_how_much_may_be_generated_are_refused(till: Till) -> None:
    till.open(key_scope(budgets=[till.budget(USD, hold="ceiling")]))
    answer = till.ask(b'{"model":"claude-opus-5-5","max_tokens":100000,"max_tokens":1}')
    assert error_of(answer)[0] == 400
    assert "`max_tokens` stands more than once" in error_of(answer)[2]


def test_a_long_name_is_looked_at_once_however_many_stars_a_list_has() -> None:
    pattern = compiled(["*claude*claude*opus*", "claude-*"])
    begun = time.process_time()
    assert pattern.fullmatch("x" + "claude" * 20_000) is None
    assert time.process_time() - begun < 0.5  # with three stars tried in each place it took minutes
    for name in ("claudeclaudeopus", "my claude, claude-opus-5", "claude-haiku"):
        assert pattern.fullmatch(name)
    for name in ("claude opus", "opusclaudeclaude", "xclaude-haiku"):
        assert not pattern.fullmatch(name)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a*b*a", "aba", True), ("a*b*a", "abba", True), ("a*a", "a", False), ("*a*ab", "aab", True),
        ("*ab*ab", "ab", False), ("**", "", True), ("*", "x\ny", True), ("a**b", "ab", True),
        ("", "a", False),
    ],
)  # fmt: skip
def test_stars_stand_for_anything(pattern: str, name: str, fits: bool) -> None:
    assert (compiled([pattern]).fullmatch(name) is not None) is fits


def test_a_name_longer_than_any_is_on_no_list(line: Bench) -> None:
    gateway, _ = guarded(line, spec(models=[["claude-*"]]))
    body = b'{"model":"claude-%b"}' % (b"x" * MAX_MODEL_CHARACTERS)
    assert error_of(ask(gateway, with_key(body)))[:2] == (404, "not_found_error")
