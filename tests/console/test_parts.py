"""What the console works out: figures as people read them, sessions, forms, trees of agents."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ferryman.aliases import Model
from ferryman.console import words
from ferryman.console.aliases import Named, named
from ferryman.console.figures import Period, chart, grouped, percentile, total
from ferryman.console.forms import Field, members_of, texts_of
from ferryman.console.session import IDLE_SECONDS, MAX_ENDED, MOST_SECONDS, Session, Signer
from ferryman.console.throttle import MAX_ADDRESSES, MAX_OF_ADDRESS, MAX_OF_ALL, WINDOW_SECONDS, Throttle
from ferryman.console.tree import MAX_DEPTH, Agent, tree_of
from ferryman.model import Cost, Entry, Usage
from ferryman.settings import Settings
from ferryman.settings_models import configured_models
from ferryman.store.access_rows import Key
from ferryman.store.read import Sums
from tests.support.stores import entry

DOLLAR = 10**9


@pytest.mark.parametrize(
    ("nanousd", "short", "exact"),
    [
        (0, "$0.00", "$0.00"),
        (1, "<$0.0001", "$0.000000001"),
        (99_999, "<$0.0001", "$0.000099999"),
        (100_000, "$0.0001", "$0.0001"),
        (57_912_345, "$0.0579", "$0.057912345"),
        (900_000_000, "$0.90", "$0.90"),
        (999_949_999, "$0.9999", "$0.999949999"),
        (999_950_000, "$1.00", "$0.99995"),
        (DOLLAR, "$1.00", "$1.00"),
        (1_234 * DOLLAR + 565_000_000, "$1,234.57", "$1,234.565"),
        (-5 * DOLLAR, "−$5.00", "−$5.00"),
    ],
)
def test_money_is_short_with_the_exact_amount_beside_it(nanousd: int, short: str, exact: str) -> None:
    assert (words.short_dollars(nanousd), words.exact_dollars(nanousd)) == (short, exact)


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0"), (999, "999"), (1_234, "1.23k"), (56_789, "56.8k"), (4_560_000, "4.56M")]
)
def test_counts_have_few_figures(number: int, told: str) -> None:
    assert words.short_count(number) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"),
        (0.00036, "360 µs"),
        (0.0012, "1.2 ms"),
        (0.84, "840 ms"),
        (1.236, "1.24 s"),
        (42.31, "42.3 s"),
        (192, "3 min 12 s"),
        (7_500, "2 h 5 min"),
        (4 * 86_400, "4 d"),
    ],
)
def test_lengths_of_time_have_the_unit_that_fits(seconds: float | None, told: str) -> None:
    assert words.seconds_text(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "just now"), (-30, "30 s ago"), (-150, "2 min ago"), (90_000, "in 25 h"), (-400_000, "5 d ago")],
)
def test_distances_are_told_as_people_say_them(seconds: int, told: str) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert words.distance_text(now + timedelta(seconds=seconds), now) == told


def test_shares_and_sizes_are_told_even_of_nothing() -> None:
    assert [words.percent(1, 3), words.percent(0, 0), words.percent(0, 5), words.percent(5, 5)] == [
        *("33.3 %", "–", "0 %", "100 %"),
    ]
    assert [words.bytes_text(n) for n in (None, 12, 3_400, 12_000_000)] == ["–", "12 B", "3.4 kB", "12.0 MB"]


def test_days_are_cut_where_what_is_known_of_them_begins() -> None:
    first, middle, last = (date(2026, 5, day) for day in (1, 10, 20))
    period = Period(first, last)
    assert period.cut(middle, last) == [
        Period(first, date(2026, 5, 9)),
        Period(middle, date(2026, 5, 19)),
        Period(last, last),
    ]
    assert period.cut(first, date(2026, 5, 21)) == [period]
    assert period.cut() == [period]


def test_a_session_is_read_from_its_cookie_by_whoever_has_the_same_master_key() -> None:
    session = Session("ab", "", 1_000, 1_000)
    cookie = Signer("one").cookie(session)
    assert Signer("one").session(cookie, 1_001) == session
    assert Signer("other").session(cookie, 1_001) is None
    assert Signer("one").session(cookie, 1_000 + IDLE_SECONDS) is None
    busy = Signer("one").cookie(Session("ab", "", 1_000, 1_000 + MOST_SECONDS - 1))
    assert Signer("one").session(busy, 1_000 + MOST_SECONDS) is None


def test_sessions_that_were_ended_are_remembered_within_a_bound() -> None:
    signer = Signer("one")
    for number in range(MAX_ENDED + 1):
        signer.end(Session(str(number), "", 0, 0))
    assert signer.session(signer.cookie(Session("1", "", 0, 0)), 1) is None
    assert signer.session(signer.cookie(Session("0", "", 0, 0)), 1) is not None


def test_the_token_of_a_form_is_that_of_its_session() -> None:
    signer = Signer("one")
    assert signer.is_form_token("a", signer.form_token("a"))
    assert not signer.is_form_token("b", signer.form_token("a"))
    assert not signer.is_form_token("a", "ä")


def test_an_address_that_fails_waits_and_others_do_not() -> None:
    throttle = Throttle()
    for number in range(MAX_OF_ADDRESS):
        assert throttle.wait_seconds("a", number) == 0
        throttle.failed("a", number)
    assert throttle.wait_seconds("a", 20) == WINDOW_SECONDS - 20 + 1
    assert throttle.wait_seconds("b", 20) == 0
    assert throttle.wait_seconds("a", WINDOW_SECONDS) == 0


def test_many_addresses_together_wait_too_and_are_forgotten_within_a_bound() -> None:
    throttle = Throttle()
    for number in range(MAX_ADDRESSES + 5):
        throttle.failed(f"address {number}", 0)
    assert throttle.wait_seconds("another", 1) > 0
    assert repr(throttle) == f"<Throttle {MAX_ADDRESSES} addresses>"
    assert MAX_OF_ALL < MAX_ADDRESSES


def test_who_has_got_in_has_mistyped_nothing() -> None:
    throttle = Throttle()
    for _ in range(MAX_OF_ADDRESS):
        throttle.failed("a", 0)
    throttle.succeeded("a")
    assert throttle.wait_seconds("a", 1) == 0


FIELDS = (
    Field("name", "Name"),
    Field("amount", "Amount", "dollars"),
    Field("number", "Number", "count"),
    Field("names", "Names", "list"),
    Field("id", "Id", only_new=True),
)


def test_an_empty_field_is_left_out_of_a_new_record_and_clears_an_old_one() -> None:
    form = {"name": "", "amount": "$1,000.5", "number": "2,000", "names": "a, b,\nc,", "id": "x", "more": "y"}
    told = {"amount": "1000.5", "number": 2_000, "names": ["a", "b", "c"]}
    assert members_of(FIELDS, form, is_new=True) == told | {"id": "x"}
    assert members_of(FIELDS, form, is_new=False) == told | {"name": None}
    assert members_of(FIELDS, {"names": "", "number": "x"}, is_new=False) == {"names": [], "number": "x"}


def test_a_record_stands_in_its_fields_as_it_is_told() -> None:
    row = {"name": None, "amount": 0.1 + 0.2, "number": 5, "names": ["a", "b"]}
    told = {"name": "", "amount": "0.3", "number": "5", "names": "a, b", "id": ""}
    assert texts_of(FIELDS, row) == told


def by(number: int, agent: str | None, parent: str | None = None, **more: object) -> Entry:
    return entry(number, agent_id=agent, parent_agent_id=parent, **more)


def shape(agents: list[Agent]) -> list[object]:
    return [(one.agent_id, shape(one.children)) for one in agents]


def test_agents_stand_below_those_that_have_started_them() -> None:
    entries = [
        by(1, "main"),
        by(2, "plan", "main"),
        by(3, "tests", "plan"),
        by(4, "look", "main"),
        by(5, "main"),
    ]
    assert shape(tree_of(reversed(entries))) == [
        ("main", [("plan", [("tests", [])]), ("look", [])]),
    ]


def test_the_main_agent_may_name_itself_to_nobody() -> None:
    assert shape(tree_of([by(1, None), by(2, "a"), by(3, "b", "unseen")])) == [(None, [("a", []), ("b", [])])]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_no_circle_of_agents_is_lost_or_goes_on_for_ever(parents: dict[str, str]) -> None:
    entries = [by(number, name, parent) for number, (name, parent) in enumerate(parents.items())]
    found = tree_of(entries)
    assert sum(len(one.entries) for one in found) == len(entries)


def test_agents_that_start_each_other_without_end_stand_no_deeper_than_a_page_can_show() -> None:
    cost = Cost(1, "catalog", "r", [])
    entries = [by(number, f"a{number}", f"a{number - 1}", cost=cost) for number in range(500)]
    (top,) = tree_of(entries)
    assert top.whole_cost_nanousd == 500
    level, depth = [top], 0
    while children := [child for one in level for child in one.children]:
        level, depth = children, depth + 1
    assert (depth, len(level)) == (MAX_DEPTH, 500 - MAX_DEPTH)


def test_an_agent_tells_what_it_and_all_below_it_have_cost() -> None:
    cost = Cost(5, "catalog", "r", [])
    usage = Usage(input_tokens=1, cache_read_input_tokens=9, output_tokens=2)
    (top,) = tree_of(
        [
            by(1, "main", cost=cost, usage=usage, request_class="compaction"),
            by(2, "a", "main", cost=cost, status=529, usage=None, agent_type="Explore"),
        ]
    )
    assert (top.cost_nanousd, top.whole_cost_nanousd, top.compactions, top.errors) == (5, 10, 1, 0)
    assert (top.total_input_tokens, top.tokens("output_tokens"), top.kind) == (10, 2, "agent")
    assert (top.children[0].errors, top.children[0].kind) == (1, "Explore")


def sums(day: int, model: str, nanousd: int) -> Sums:
    counts: dict[str, Any] = dict.fromkeys(
        (
            *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
            *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "web_search_requests"),
            *("web_fetch_requests", "thinking_tokens"),
        ),
        1,
    )
    return Sums(day=date(2026, 11, day), model=model, requests=1, errors=0, cost_nanousd=nanousd, **counts)


def test_the_chart_has_each_day_and_adds_up_to_the_total() -> None:
    period = Period(date(2026, 11, 1), date(2026, 11, 3))
    found = [sums(day, f"m{model}", (model + 1) * DOLLAR) for day in (1, 3) for model in range(7)]
    told = chart(found, period)
    assert len(told["days"]) == 3
    assert [one["name"] for one in told["series"]] == ["m6", "m5", "m4", "m3", "other models"]
    assert [sum(one["values"][day] for one in told["series"]) for day in range(3)] == [28.0, 0.0, 28.0]
    assert total(found).cost_nanousd == 56 * DOLLAR
    assert grouped(found, lambda one: one.model)[0].cost_nanousd == 14 * DOLLAR


def test_percentiles_are_values_that_were_there() -> None:
    assert percentile([], 0.5) is None
    assert [percentile([4, 1, 3, 2], share) for share in (0.0, 0.5, 0.95)] == [1, 3, 4]


def test_every_name_of_a_model_stands_with_its_model_and_who_has_given_it() -> None:
    upstreams = {
        "main": {"base_url": "http://127.0.0.1:9", "api_key": "k", "aliases": {"fast": "claude-haiku-5-5"}},
    }
    settings = Settings(aliases={"opus": "claude-opus-5-5", "claude-old": "opus-next"}, upstreams=upstreams)
    configured = configured_models(settings)
    assert configured is not None
    listed = [Model("claude-opus-5-5"), Model("claude-old"), Model("id-of-next")]
    told = msgspec.structs.replace(configured, models=listed, made={"opus-next": "id-of-next"})
    made = {"created_at_microseconds": 0, "created_by": "a", "updated_at_microseconds": 0, "updated_by": "a"}
    texts = {"id": "k1", "token": "t", "name": "sk-...wxyz", "alias": "laptop", "aliases": {"best": "opus"}}
    key = msgspec.convert(texts | made, Key)
    assert named(settings, told, [key]) == [
        Named("best", "claude-opus-5-5", "laptop", "k1"),
        Named("fast", "claude-haiku-5-5", "upstream main"),
        Named("opus", "claude-opus-5-5", "settings"),
        Named("claude-old", "id-of-next", "settings", is_shadowed=True),
        Named("opus-next", "id-of-next", "display name"),
    ]
