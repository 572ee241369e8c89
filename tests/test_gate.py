"""Limits and budgets, as a worker holds its callers to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ferryman.limits.admission import Admission
from ferryman.limits.heads import budget_state, limit_state, set_head
from ferryman.limits.spec import GATEWAY, Budget, Defaults, Limit, Scope
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar
from ferryman.relay.gate import Gate
from ferryman.settings import Settings
from tests.conftest import Bench
from tests.support.edge import Connection, Script, Upstream, answering
from tests.support.gateway import Gateway, HeldClock
from tests.support.raw import RawClient, RawResponse, post
from tests.test_keys_on_the_line import LAPTOP, MASTER, error_of, spec

USD = 1_000_000_000
MODEL = "claude-opus-5-5"
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }
).encode()
NOBODY = Defaults()
COST_NANOUSD = 100 * 4_000 + 10 * 20_000
"""Of `ANSWER`, at $4 and $20 per million tokens."""


def silent(connection: Connection) -> None:
    """Answers nothing."""
    connection.request()
    connection.wait_closed()


class Till:
    """A table of counters with one worker, and its gateway and upstream."""

    def __init__(self, line: Bench, directory: Path, clock: HeldClock) -> None:
        self.clock = clock
        self.table = CounterTable.create(directory / "counters", 1)
        column = self.table.claim("the-journal")
        assert column is not None
        self._line = line
        self._counters = Admission(self.table, column, Calendar())
        self.gateway: Gateway
        self.upstream: Upstream

    def open(
        self, *scopes: Scope, script: Script | None = None, defaults: Defaults = NOBODY, **options: Any
    ) -> None:
        """Start both, with one key that is in `scopes`."""
        self.upstream = self._line.upstream(script or answering(ANSWER))
        values: dict[str, Any] = {
            "port": 0, "upstream_url": self.upstream.url, "anthropic_api_key": "sk-ant", "master_key": MASTER
        }  # fmt: skip
        self.gateway = self._line.enter(
            Gateway(Settings(**values | options), clock=self.clock, counters=self._counters)
        )
        named = [s.id for s in scopes if s.id.partition(":")[0] in {"key", "user", "team"}]
        self.gateway.tell([spec(scopes=named)], scopes, defaults)

    def budget(self, cap_nanousd: int | None, *, is_ready: bool = True, **fields: Any) -> Budget:
        """A budget in its window."""
        row = self.table.row_of(f"budget {len(fields)} {fields}")
        budget = Budget(cap_nanousd, row, **fields)
        if is_ready:
            self.begin(budget)
        return budget

    def begin(self, budget: Budget, base_nanousd: int = 0) -> None:
        """Put a budget into the window of now."""
        start = Calendar().span(budget.window, budget.anchor, self.clock.now()).start
        set_head(self.table, budget.row, start, base_nanousd, budget.cap_nanousd or 0)

    def limit(self, what: str, amount: int, **fields: Any) -> Limit:
        return Limit(what, amount, self.table.row_of(f"limit {what} {fields}"), **fields)

    @property
    def gate(self) -> Gate:
        gate = self.gateway.worker.line.gate
        assert gate is not None
        return gate

    @property
    def waiting(self) -> int:
        """Calls that wait for the control plane."""
        return self.gate.waiting_count

    def spent(self, budget: Budget) -> int:
        """What is settled."""
        return budget_state(self.table, budget, Calendar(), self.clock.now()).spent_nanousd

    def held(self, budget: Budget) -> int:
        return budget_state(self.table, budget, Calendar(), self.clock.now()).held_nanousd

    def used(self, limit: Limit) -> int:
        return limit_state(self.table, limit, self.clock.now()).used

    def ask(
        self, body: bytes | None = None, path: bytes = b"/v1/messages", headers: bytes = b""
    ) -> RawResponse:
        with RawClient(self.gateway.port) as client:
            return client.ask(self.request(body, path, headers))

    def request(
        self, body: bytes | None = None, path: bytes = b"/v1/messages", headers: bytes = b""
    ) -> bytes:
        if body is None:
            body = json.dumps({"model": MODEL, "max_tokens": 20}).encode()
        return post(body, path=path, headers=headers + b"x-api-key: " + LAPTOP + b"\r\n")


@pytest.fixture
def till(line: Bench, short: Path, clock: HeldClock) -> Iterator[Till]:
    made = Till(line, short, clock)
    yield made
    line.close()
    made.table.close()


def key_scope(**fields: Any) -> Scope:
    return Scope("key:laptop", "key `laptop`", **fields)


def said(answer: RawResponse, name: bytes) -> bytes | None:
    values = answer.values(b"anthropic-ratelimit-unified-" + name)
    return values[0] if values else None


def test_requests_beyond_the_limit_of_a_minute_are_refused_and_consume_nothing(till: Till) -> None:
    limit = till.limit("requests", 2)
    till.open(key_scope(limits=[limit]))
    assert [till.ask().status for _ in range(4)] == [200, 200, 429, 429]
    answer = till.ask()
    assert error_of(answer)[:2] == (429, "rate_limit_error")
    assert "2 requests a minute of key `laptop`" in error_of(answer)[2]
    assert 1 <= int(answer.values(b"retry-after")[0]) <= 60
    assert answer.values(b"x-should-retry") == []
    assert till.used(limit) == 2
    assert len(till.upstream.requests) == 2
    till.gateway.pass_time(120)
    assert till.ask().status == 200


@pytest.mark.parametrize("kind", ["user", "team", "customer", "tag", "gateway"])
def test_limits_hold_for_every_kind_of_scope(till: Till, kind: str) -> None:
    scope = Scope(GATEWAY if kind == "gateway" else f"{kind}:one", "this", limits=[till.limit("requests", 1)])
    till.open(scope)
    headers = b"x-litellm-end-user-id: one\r\nx-litellm-tags: one\r\n"
    assert [till.ask(headers=headers).status for _ in range(2)] == [200, 429]


def test_a_limit_of_a_model_counts_calls_of_that_model_alone(till: Till) -> None:
    till.open(key_scope(limits=[till.limit("requests", 1, model="claude-haiku-*")]))
    haiku = b'{"model":"claude-haiku-4-5","max_tokens":5}'
    assert [till.ask().status, till.ask().status] == [200, 200]
    assert [till.ask(haiku).status, till.ask(haiku).status, till.ask().status] == [200, 429, 200]


def test_counting_tokens_has_a_limit_of_its_own(till: Till) -> None:
    till.open(key_scope(limits=[till.limit("requests", 1), till.limit("count_tokens", 2)]))
    count = b"/v1/messages/count_tokens"
    assert [till.ask(path=count).status for _ in range(3)] == [200, 200, 429]
    assert [till.ask().status, till.ask().status] == [200, 429]


def test_parallel_requests_are_counted_while_they_last(till: Till) -> None:
    limit = till.limit("parallel", 1)
    till.open(key_scope(limits=[limit]), script=silent)
    with RawClient(till.gateway.port) as first:
        first.send(till.request(b'{"model":"m","max_tokens":1,"stream":true}'))
        till.gateway.until(lambda: till.used(limit))
        answer = till.ask()
        assert error_of(answer)[:2] == (429, "rate_limit_error")
        assert answer.values(b"retry-after") == [b"1"]
    till.gateway.until(lambda: not till.used(limit))


def test_tokens_are_reserved_and_settled_to_what_the_answer_tells(till: Till) -> None:
    tokens, put_in, put_out = (till.limit(w, 1_000) for w in ("tokens", "input_tokens", "output_tokens"))
    till.open(key_scope(limits=[tokens, put_in, put_out]))
    assert till.ask().status == 200
    assert [till.used(tokens), till.used(put_in), till.used(put_out)] == [110, 100, 10]
    assert till.ask(b'{"model":"x","max_tokens":5000}').status == 429
    assert [till.used(tokens), till.used(put_in), till.used(put_out)] == [110, 100, 10]


def test_a_call_that_a_limit_never_has_room_for_is_not_asked_again(till: Till) -> None:
    till.open(key_scope(limits=[till.limit("input_tokens", 10)]))
    answer = till.ask(json.dumps({"model": MODEL, "system": "x" * 1_000}).encode())
    assert error_of(answer)[:2] == (429, "rate_limit_error")
    assert "never has room" in error_of(answer)[2]
    assert answer.values(b"x-should-retry") == [b"false"]


@pytest.mark.parametrize("hold", ["ceiling", "expected"])
def test_a_budget_is_spent_to_the_nano_dollar(till: Till, hold: str) -> None:
    budget = till.budget(USD, hold=hold)
    till.open(key_scope(budgets=[budget]))
    for number in range(1, 4):
        answer = till.ask()
        assert answer.values(b"x-ferryman-cost-usd") == [b"0.000600000"]
        assert till.spent(budget) == number * COST_NANOUSD
        assert till.held(budget) == 0


def test_at_the_cap_one_request_is_answered_with_our_sentence(till: Till) -> None:
    budget = till.budget(2 * COST_NANOUSD, window="1d", hold="expected")
    till.open(key_scope(budgets=[budget]))
    till.begin(budget, base_nanousd=2 * COST_NANOUSD)
    answer = till.ask()
    status, kind, message = error_of(answer)
    assert (status, kind) == (429, "billing_error")
    assert json.loads(answer.body)["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert message.startswith("Budget reached: the budget of $0.0012 per 1d of key `laptop` is used up.")
    assert answer.values(b"x-should-retry") == [b"false"]
    end = Calendar().span("1d", "", till.clock.now()).end
    assert end is not None
    assert answer.values(b"retry-after") == [b"%d" % (end - till.clock.now())]
    told = {
        b"status": b"rejected", b"reset": b"%d" % end, b"overage-reset": b"%d" % end,
        b"overage-utilization": b"1", b"overage-surpassed-threshold": b"1", b"overage-period": b"daily",
        b"overage-disabled-reason": b"org_spend_cap_reached",
        # With these the client would show its own words.
        b"representative-claim": None, b"overage-status": None, b"overage-scope": None,
    }  # fmt: skip
    assert {name: said(answer, name) for name in told} == told
    assert not till.upstream.requests


def test_a_shared_budget_says_so_and_one_without_end_has_no_reset(till: Till) -> None:
    budget = till.budget(0)
    till.open(Scope("team:lab", "team `lab`", budgets=[budget]))
    answer = till.ask()
    assert said(answer, b"overage-scope") == b"group_pool"
    assert said(answer, b"reset") is said(answer, b"overage-period") is None
    assert answer.values(b"retry-after") == []
    assert answer.values(b"x-should-retry") == [b"false"]


@pytest.mark.parametrize(
    ("base_share", "state", "utilization", "passed"),
    [
        (0.1, b"allowed", b"0.10", None),
        (0.8, b"allowed_warning", b"0.80", b"0.75"),
        (0.96, b"allowed_warning", b"0.96", b"0.95"),
    ],
)
def test_below_the_cap_the_client_is_told_how_far_it_is_used(
    till: Till, base_share: float, state: bytes, utilization: bytes, passed: bytes | None
) -> None:
    budget = till.budget(USD, window="30d")
    upstream_headers = (
        b"anthropic-ratelimit-requests-remaining: 5\r\nAnthropic-Ratelimit-Unified-Status: x\r\n"
    )
    till.open(key_scope(budgets=[budget]), script=answering(ANSWER, headers=upstream_headers))
    till.begin(budget, base_nanousd=int(base_share * USD))
    answer = till.ask()
    assert answer.status == 200
    end = b"%d" % (Calendar().span("30d", "", till.clock.now()).end or 0)
    told = {
        b"status": state, b"overage-status": state, b"overage-utilization": utilization, b"reset": end,
        b"overage-reset": end, b"representative-claim": b"overage", b"overage-surpassed-threshold": passed,
    }  # fmt: skip
    assert {name: said(answer, name) for name in told} == told
    assert answer.values(b"anthropic-ratelimit-requests-remaining") == []
    assert len(answer.values(b"anthropic-ratelimit-unified-status")) == 1


def test_a_caller_without_a_budget_keeps_the_headers_of_the_upstream(till: Till) -> None:
    till.open(
        key_scope(limits=[till.limit("requests", 5)]),
        script=answering(ANSWER, headers=b"anthropic-ratelimit-requests-remaining: 5\r\n"),
    )
    answer = till.ask()
    assert answer.values(b"anthropic-ratelimit-requests-remaining") == [b"5"]
    assert said(answer, b"status") is None


def test_ceiling_refuses_what_could_pass_the_cap(till: Till) -> None:
    budget = till.budget(USD // 10, hold="ceiling")
    till.open(key_scope(budgets=[budget]))
    answer = till.ask(json.dumps({"model": MODEL, "max_tokens": 100_000}).encode())
    assert error_of(answer)[:2] == (429, "billing_error")
    assert "lower `max_tokens`" in error_of(answer)[2]
    assert till.ask().status == 200


def test_all_budgets_have_to_let_a_call_through_or_none_is_touched(till: Till) -> None:
    wide, narrow = till.budget(USD, window="1d"), till.budget(0, window="30d")
    limit = till.limit("requests", 5)
    till.open(key_scope(budgets=[wide, narrow], limits=[limit]))
    assert till.ask().status == 429
    assert (till.spent(wide), till.held(wide), till.used(limit)) == (0, 0, 0)


def test_what_costs_nothing_that_we_know_is_not_for_callers_with_a_budget(till: Till) -> None:
    till.open(key_scope(budgets=[till.budget(USD)]))
    assert error_of(till.ask(path=b"/v1/sessions"))[:2] == (403, "permission_error")
    assert till.ask(path=b"/v1/messages/count_tokens").status == 200


def test_a_call_waits_until_its_window_is_ready(till: Till, clock: HeldClock) -> None:
    budget = till.budget(USD, is_ready=False)
    asked: list[tuple[list[str], dict[int, int]]] = []
    till.open(key_scope(budgets=[budget]))
    till.gate.wants = lambda scopes, rows: asked.append((scopes, rows))
    with RawClient(till.gateway.port) as client:
        client.send(till.request())
        till.gateway.until(lambda: asked)
        assert [*asked[0][1]] == [budget.row]
        till.begin(budget)
        assert client.response().status == 200
    assert till.spent(budget) == COST_NANOUSD


def test_a_call_does_not_wait_for_ever_for_its_window(till: Till) -> None:
    till.open(key_scope(budgets=[till.budget(USD, is_ready=False)]))
    with RawClient(till.gateway.port) as client:
        client.send(till.request())
        till.gateway.until(lambda: till.waiting)
        till.gateway.pass_time(1.1)
        answer = client.response()
    assert error_of(answer)[:2] == (429, "billing_error")
    assert answer.values(b"x-should-retry") == [b"false"]
    assert said(answer, b"overage-disabled-reason") == b"fetch_error"
    assert not till.upstream.requests


def test_a_client_that_leaves_while_its_call_waits_leaves_nothing_behind(till: Till) -> None:
    budget = till.budget(USD, is_ready=False)
    limit = till.limit("parallel", 5)
    till.open(key_scope(budgets=[budget], limits=[limit]))
    with RawClient(till.gateway.port) as client:
        client.send(till.request())
        till.gateway.until(lambda: till.waiting)
    till.gateway.until(lambda: not till.waiting)
    till.begin(budget)
    assert till.gateway.entry().ended == "client_gone"
    assert (till.used(limit), till.held(budget), till.spent(budget)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("headers", "scope_id"),
    [
        (b"x-claude-code-session-id: s1\r\n", "session:s1"),
        (b"x-litellm-end-user-id: bob\r\n", "customer:bob"),
    ],
)
def test_who_is_not_known_is_asked_for_first(till: Till, headers: bytes, scope_id: str) -> None:
    asked: list[list[str]] = []
    till.open(defaults=Defaults(customers=True, sessions=True))
    till.gate.wants = lambda scopes, _rows: asked.append(scopes)
    with RawClient(till.gateway.port) as client:
        client.send(till.request(headers=headers))
        till.gateway.until(lambda: asked)
        assert asked == [[scope_id]]
        budget = till.budget(0)
        till.gateway.tell([spec()], [Scope(scope_id, "this one", budgets=[budget])], Defaults(sessions=True))
        assert error_of(client.response())[:2] == (429, "billing_error")


def test_a_worker_without_counters_lets_nobody_through_who_is_held_to_anything(line: Bench) -> None:
    gateway, upstream = line.pair(master_key=MASTER)
    gateway.tell([spec(scopes=["key:laptop"])], [key_scope(limits=[Limit("requests", 5, 0)])])
    with RawClient(gateway.port) as client:
        answer = client.ask(post(b"{}", headers=b"x-api-key: " + LAPTOP + b"\r\n"))
    assert error_of(answer)[:2] == (429, "billing_error")
    assert not upstream.requests


def test_an_open_gateway_has_a_budget_too(till: Till) -> None:
    budget = till.budget(0)
    till.open(Scope(GATEWAY, "this gateway", budgets=[budget]), auth="open")
    assert error_of(till.ask())[:2] == (429, "billing_error")


@pytest.mark.parametrize("status", [400, 500, 529])
def test_a_call_that_failed_gives_its_hold_back(till: Till, status: int) -> None:
    budget, limit = till.budget(USD), till.limit("parallel", 1)
    till.open(key_scope(budgets=[budget], limits=[limit]), script=answering(b"{}", status=status))
    assert [till.ask().status for _ in range(3)] == [status] * 3
    assert (till.spent(budget), till.held(budget), till.used(limit)) == (0, 0, 0)
