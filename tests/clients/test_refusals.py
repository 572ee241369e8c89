"""What the gateway refuses by itself, as clients take it: asked once, our sentence, and at once.

The table is that of `ferryman.errors`. Where asking again helps, it is asked again, and answered.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from ferryman.limits.spec import Budget, Limit, Scope
from ferryman.simulator.server import Server

from .barrier import KEY, MASTER_KEY, USD, Barrier
from .environments import claude_code
from .meter import SETTINGS
from .program import Program, run
from .tee import Message, Tee
from .test_claude_code import ask
from .test_sdks import HELLO

SOON_SECONDS = 10.0
"""An answer at once, on a busy machine; the first retry of the SDKs alone may take longer than that of a
budget would: months."""

CLAUDE_SECONDS = 25.0
"""The same with the start of Claude Code, which takes one to four seconds. Its ten retries take minutes."""

BODY_BYTES = 2_000
TOO_LARGE = {
    "python-1": "RequestTooLargeError",
    "python-2": "ContentTooLargeError",
    "node": "ContentTooLargeError",
}


def laptop(budgets: list[Budget] | None = None, limits: list[Limit] | None = None) -> Scope:
    return Scope("key:laptop", "key `laptop`", budgets=budgets or [], limits=limits or [])


class Refusal(NamedTuple):
    """What is refused, and what is made of it.

    Attributes:
        let: sets the gateway up.
        status, kind: of the answer.
        says: part of its sentence.
        error: the class that SDKs raise; those before 2.0 raise `before`, if that is another one.
        key: the client's.
        claude: what Claude Code prints before the sentence; `None` where it has words of its own.
        claude_asks: how often it asks.
    """

    name: str
    let: Callable[[Barrier], None]
    status: int
    kind: str
    says: str
    error: str
    before: str = ""
    key: str = KEY
    claude: str | None = "API Error: Request rejected (429) · "
    claude_asks: int = 1


LOGIN = "Failed to authenticate. API Error: 401 "
SPENT = "EnforcedSpendLimitReachedError"
REFUSALS = (
    Refusal(
        "unknown key", Barrier.forget, 401, "authentication_error", "is not known", "AuthenticationError",
        claude=LOGIN,
    ),
    Refusal(
        "master key", Barrier.tell, 401, "authentication_error", "master key opens", "AuthenticationError",
        key=MASTER_KEY, claude=LOGIN,
    ),
    Refusal(
        "expired key", lambda b: b.tell(expires_at=1.0), 401, "authentication_error", "has expired",
        "AuthenticationError", claude=LOGIN,
    ),
    Refusal(
        "blocked key", lambda b: b.tell(blocked="The key `laptop` is blocked."), 401, "authentication_error",
        "The key `laptop` is blocked.", "AuthenticationError", claude=LOGIN,
    ),
    Refusal(
        "denied model", lambda b: b.tell(models=[["claude-haiku-*"]]), 404, "not_found_error",
        "is not for this key", "NotFoundError", claude=None, claude_asks=2,
    ),
    Refusal(
        "denied route", lambda b: b.tell(routes=["/v1/files"]), 403, "permission_error",
        "This key may not call `/v1/messages`", "PermissionDeniedError",
        claude="Failed to authenticate. API Error: 403 ",
    ),
    Refusal(
        "spent budget", lambda b: b.tell(laptop([b.far_budget(USD, USD)])), 429, "billing_error",
        "It begins anew at", SPENT, "RateLimitError",
    ),
    Refusal(
        "spent budget without end", lambda b: b.tell(laptop([b.budget(USD, USD)])), 429, "billing_error",
        "of key `laptop` is used up.", SPENT, "RateLimitError",
    ),
    Refusal(
        "spent budget of a team",
        lambda b: b.tell(Scope("team:lab", "team `lab`", budgets=[b.far_budget(USD, USD)])),
        429, "billing_error", "of team `lab` is used up.", SPENT, "RateLimitError",
    ),
    Refusal(
        "budget too small for the call",
        lambda b: b.tell(laptop([b.budget(1_000, hold="ceiling")])), 429, "billing_error",
        "lower `max_tokens`", SPENT, "RateLimitError",
    ),
    Refusal(
        "budget that cannot be read", lambda b: b.tell(laptop([b.unknown_budget()])), 429, "billing_error",
        "could not be told within", "RateLimitError",
    ),
    Refusal(
        "call larger than a limit", lambda b: b.tell(laptop(limits=[b.limit("input_tokens", 1)])), 429,
        "rate_limit_error", "never has room for that", "RateLimitError",
    ),
)  # fmt: skip

each_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)


@pytest.fixture(scope="module")
def barrier(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Barrier]:
    with Barrier(simulator.url, tmp_path_factory.mktemp("barrier")) as one:
        yield one


@pytest.fixture(scope="module")
def narrow(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Barrier]:
    """Takes small bodies only."""
    with Barrier(simulator.url, tmp_path_factory.mktemp("narrow"), max_body_bytes=BODY_BYTES) as one:
        one.tell()
        yield one


@pytest.fixture
def unaware(simulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Barrier]:
    """Has not been told of any keys."""
    with Barrier(simulator.url, tmp_path_factory.mktemp("unaware")) as one:
        yield one


def sentence_of(answer: Message) -> str:
    """What the gateway says."""
    said: str = json.loads(answer.body)["error"]["message"]
    return said


def check_refused(answers: list[Message], refusal: Refusal) -> str:
    """Assert that each answer is the one that was meant; its sentence."""
    for answer in answers:
        assert answer.status == refusal.status
        assert json.loads(answer.body)["error"]["type"] == refusal.kind
        assert refusal.says in sentence_of(answer)
        assert answer.values("x-should-retry") == ["false"]
    return sentence_of(answers[0])


@each_refusal
@pytest.mark.parametrize("action", ["create", "stream"])
def test_sdk_raises_at_once_what_was_refused(
    sdk: Program, barrier: Barrier, simulator: Server, refusal: Refusal, action: str
) -> None:
    simulator.recorder.clear()
    refusal.let(barrier)
    with Tee("127.0.0.1", barrier.gateway.port) as tee:
        started = time.monotonic()
        told = sdk.ask(action, HELLO, base_url=f"http://{tee.address}", api_key=refusal.key)
        seconds = time.monotonic() - started
        answers = [answer for _, answer in tee.exchanges()]
    assert len(answers) == 1
    said = check_refused(answers, refusal)
    is_old = sdk.sdk.environment == "python-1"
    assert told["error"] == ((is_old and refusal.before) or refusal.error)
    assert (told["status"], told["type"], told["message"]) == (refusal.status, refusal.kind, said)
    assert refusal.says in told["shown"]
    assert told["request_id"] == answers[0].values("request-id")[0]
    assert seconds < SOON_SECONDS
    assert simulator.recorder.requests == []


@each_refusal
def test_claude_code_prints_at_once_what_was_refused(
    barrier: Barrier, tmp_path: Path, refusal: Refusal
) -> None:
    refusal.let(barrier)
    with Tee("127.0.0.1", barrier.gateway.port) as tee:
        started = time.monotonic()
        told = ask_patiently(tee, tmp_path, ANTHROPIC_API_KEY=refusal.key)
        seconds = time.monotonic() - started
        answers = [answer for _, answer in tee.exchanges()]
    assert len(answers) == refusal.claude_asks
    said = check_refused(answers, refusal)
    assert (told["is_error"], told["exit_code"], told["api_error_status"]) == (True, 1, refusal.status)
    if refusal.claude is None:
        assert told["result"].startswith("There's an issue with the selected model")
    else:
        assert told["result"] == refusal.claude + said
    assert seconds < CLAUDE_SECONDS


def ask_patiently(tee: Tee, home: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Claude Code with all of its retries."""
    url = f"http://{tee.address}"
    return ask(url, home, *(arguments or ("say hi",)), CLAUDE_CODE_MAX_RETRIES="10", **environment)


def test_sdk_asks_again_in_a_second_and_finds_a_place(sdk: Program, barrier: Barrier) -> None:
    limit = barrier.limit("parallel", 1)
    barrier.tell(laptop(limits=[limit]))
    told, answers = asked_while_taken(
        barrier, limit, lambda tee: sdk.ask("create", HELLO, base_url=f"http://{tee.address}", api_key=KEY)
    )
    assert "text" in told
    check_let_through(answers)


def test_claude_code_asks_again_in_a_second_and_finds_a_place(barrier: Barrier, tmp_path: Path) -> None:
    limit = barrier.limit("parallel", 1)
    barrier.tell(laptop(limits=[limit]))
    told, answers = asked_while_taken(
        barrier, limit, lambda tee: ask_patiently(tee, tmp_path, ANTHROPIC_API_KEY=KEY)
    )
    assert told["is_error"] is False
    check_let_through(answers)


def asked_while_taken(
    barrier: Barrier, limit: Limit, asks: Callable[[Tee], dict[str, Any]]
) -> tuple[dict[str, Any], list[Message]]:
    """Ask while somebody else has the only place, who leaves when the first request has been refused."""
    before = len(barrier.gateway.entries)
    with Tee("127.0.0.1", barrier.gateway.port) as tee, ThreadPoolExecutor(1) as pool:
        with barrier.taken(limit):
            asking = pool.submit(asks, tee)
            barrier.gateway.entry(before + 1)
        told = asking.result()
        return told, [answer for _, answer in tee.exchanges()]


def check_let_through(answers: list[Message]) -> None:
    """Assert that the first request was refused for a second, and the second one answered."""
    refused, answered = answers
    assert (refused.status, answered.status) == (429, 200)
    assert json.loads(refused.body)["error"]["type"] == "rate_limit_error"
    assert refused.values("retry-after") == ["1"]
    assert refused.values("x-should-retry") == []


def test_sdk_raises_the_limit_when_it_may_not_ask_again(sdk: Program, barrier: Barrier) -> None:
    limit = barrier.limit("parallel", 1)
    barrier.tell(laptop(limits=[limit]))
    with Tee("127.0.0.1", barrier.gateway.port) as tee, barrier.taken(limit):
        told = sdk.ask("create", HELLO, base_url=f"http://{tee.address}", api_key=KEY, max_retries=0)
        (answer,) = [answer for _, answer in tee.exchanges()]
    assert (told["error"], told["status"], told["type"]) == ("RateLimitError", 429, "rate_limit_error")
    assert told["message"] == sentence_of(answer)
    assert "The limit of 1 requests at once of key `laptop` is reached; try again in 1 s." in told["shown"]


def test_sdk_waits_for_a_gateway_that_does_not_know_its_keys_yet(sdk: Program, unaware: Barrier) -> None:
    with Tee("127.0.0.1", unaware.gateway.port) as tee, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(sdk.ask, "create", HELLO, base_url=f"http://{tee.address}", api_key=KEY)
        unaware.gateway.entry()
        unaware.tell()
        assert "text" in asking.result()
        assert [answer.status for _, answer in tee.exchanges()] == [503, 200]


def test_claude_code_waits_for_a_gateway_that_does_not_know_its_keys_yet(
    unaware: Barrier, tmp_path: Path
) -> None:
    with Tee("127.0.0.1", unaware.gateway.port) as tee, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_patiently, tee, tmp_path, ANTHROPIC_API_KEY=KEY)
        unaware.gateway.entry()
        unaware.tell()
        assert asking.result()["is_error"] is False
        assert [answer.status for _, answer in tee.exchanges()] == [503, 200]


def test_sdk_raises_that_a_body_is_too_large(sdk: Program, narrow: Barrier) -> None:
    body = HELLO | {"system": "x" * BODY_BYTES}
    with Tee("127.0.0.1", narrow.gateway.port) as tee:
        told = sdk.ask("create", body, base_url=f"http://{tee.address}", api_key=KEY)
        (answer,) = [answer for _, answer in tee.exchanges()]
    assert told["error"] == TOO_LARGE[sdk.sdk.environment]
    assert (told["status"], told["type"]) == (413, "request_too_large")
    assert told["message"] == sentence_of(answer)
    assert str(BODY_BYTES) in told["shown"].replace(",", "")


def test_claude_code_says_that_a_body_is_too_large(narrow: Barrier, tmp_path: Path) -> None:
    with Tee("127.0.0.1", narrow.gateway.port) as tee:
        told = ask_patiently(tee, tmp_path, ANTHROPIC_API_KEY=KEY)
        (answer,) = [answer for _, answer in tee.exchanges()]
    assert answer.status == told["api_error_status"] == 413
    assert told["result"].startswith("Request too large")


NOTICES = [
    pytest.param(0.1, None, "allowed", None, id="little"),
    pytest.param(0.8, None, "allowed_warning", 0.75, id="three-quarters"),
    pytest.param(0.96, None, "allowed_warning", 0.95, id="nearly-all"),
    pytest.param(0.4, 0.3, "allowed_warning", 0.3, id="more-than-the-soft-budget"),
]


@pytest.mark.parametrize(("spent", "soft", "status", "passed"), NOTICES)
def test_claude_code_takes_notice_of_how_far_a_budget_is_used(
    barrier: Barrier, tmp_path: Path, spent: float, soft: float | None, status: str, passed: float | None
) -> None:
    cap = 1_000 * USD
    budget = barrier.far_budget(cap, int(spent * cap))
    if soft is not None:
        budget = msgspec.structs.replace(budget, soft_nanousd=int(soft * cap))
    barrier.tell(laptop([budget]))
    info, answers = limits_shown(barrier, tmp_path)
    assert (info["status"], info["overageStatus"]) == (status, status)
    assert info.get("surpassedThreshold") == passed
    assert info.get("utilization") == (None if passed is None else spent)
    assert info["resetsAt"] == info["overageResetsAt"] == barrier.span(budget).end
    assert not any(answer.values("anthropic-ratelimit-requests-limit") for answer in answers)


def test_claude_code_reads_of_a_spent_budget_that_it_is_its_own(barrier: Barrier, tmp_path: Path) -> None:
    budget = barrier.far_budget(USD, USD)
    barrier.tell(laptop([budget]))
    info, (answer,) = limits_shown(barrier, tmp_path)
    assert answer.status == 429
    assert (info["status"], info["overageResetsAt"]) == ("rejected", barrier.span(budget).end)
    assert info["memberSpendLimit"] == {"period": "monthly"}


def test_claude_code_is_told_nothing_where_there_is_no_budget(barrier: Barrier, tmp_path: Path) -> None:
    barrier.tell()
    info, answers = limits_shown(barrier, tmp_path)
    assert info == {"status": "allowed", "isUsingOverage": False}
    assert all(answer.values("anthropic-ratelimit-requests-limit") for answer in answers)


def limits_shown(barrier: Barrier, home: Path) -> tuple[dict[str, Any], list[Message]]:
    """What Claude Code makes of the headers, and the answers that it got.

    With a key in `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` it does not look at them (2.1.330).
    """
    with Tee("127.0.0.1", barrier.gateway.port) as tee:
        done = run(
            [str(claude_code()), "-p", "--output-format", "stream-json", "--verbose", "say hi"],
            home,
            ANTHROPIC_BASE_URL=f"http://{tee.address}",
            CLAUDE_CONFIG_DIR=str(home / "config"),
            CLAUDE_CODE_OAUTH_TOKEN=KEY,
            **SETTINGS,
        )
        answers = [answer for _, answer in tee.exchanges()]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (info,) = [event["rate_limit_info"] for event in events if event["type"] == "rate_limit_event"]
    return info, answers
