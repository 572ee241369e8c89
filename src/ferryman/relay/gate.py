"""Limits and budgets of a call: what has to let it through, what it takes of each, and what it gives back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from ferryman.clock import Clock
from ferryman.errors import PermissionDenied, RelayError
from ferryman.http1.client import Body
from ferryman.limits.admission import Admission
from ferryman.limits.habits import Habit, Habits
from ferryman.limits.patterns import MAX_MODEL_CHARACTERS
from ferryman.limits.rules import Demand, Part, Rules, Taken
from ferryman.limits.spec import GATEWAY, Budget, KeySpec, Scope
from ferryman.limits.verdict import Refused
from ferryman.limits.windows import Calendar
from ferryman.model import Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.ceiling import DEAREST, Ceilings, Extras
from ferryman.relay import caps
from ferryman.relay.admit import admit_models, admit_route, check_readable
from ferryman.relay.attribute import with_tags
from ferryman.relay.batch import created_by
from ferryman.relay.keyring import Key, Keyring
from ferryman.relay.rules import Held, HeldTo, rules_of
from ferryman.relay.values import Attribution, Route

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

log = structlog.get_logger("ferryman.relay")

RETRY_SECONDS = 0.01
"""Between two looks at what calls wait for: the control plane answers within milliseconds."""

MAX_WAITING = 1_000
"""Calls that wait at once; each holds its body. What comes beyond them is answered at once."""

USUAL: Final = Extras(fast=False, us=False)
"""What makes a call dear whose ceiling only gives the measure for what is expected: no look into its body."""

MAX_WARNED = 10_000
"""Budgets of which it is remembered that they were warned of; beyond them it is warned once more."""

_BEGINS = {
    word: re.compile(rb'(?<!\\)"' + word)
    for word in (b"advisor", b"fallback", b"cache_control", b"speed", b"inference_geo")
}

Wants = Callable[[list[str], dict[int, int]], None]
"""Told of ids of scopes that are not known; and of rows that are not ready, with what is needed of each."""


class Hold:
    """What a call has taken of limits and budgets.

    Attributes:
        taken: to be settled once.
        ceiling_nanousd: the most that it can cost, 0 where that was not asked.
        habit: what such calls have come to.
    """

    __slots__ = ("ceiling_nanousd", "habit", "taken")

    def __init__(self, taken: Taken, ceiling_nanousd: int, habit: Habit) -> None:
        self.taken = taken
        self.ceiling_nanousd = ceiling_nanousd
        self.habit = habit


class Gate:
    """Lets calls through as far as the limits and budgets of their callers go.

    Attributes:
        wants: asks the control plane for what calls wait for.
    """

    def __init__(self, ring: Keyring, counters: Admission | None, clock: Clock, wait_seconds: float) -> None:
        """Nothing is taken yet.

        Args:
            ring: what is set on whom.
            counters: where this worker counts; `None` lets nobody through who is held to anything.
            clock: the time.
            wait_seconds: how long a call waits for the control plane (`slice_wait_seconds`).
        """
        self._ring = ring
        self._counters = counters
        self._clock = clock
        self._wait_seconds = wait_seconds
        self.wants: Wants = lambda _scopes, _rows: None
        self._anybody = Key(KeySpec("", ""))  # who calls without a key is held to what the gateway is
        self._waiting: dict[Exchange, tuple[Body, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._habits = Habits()
        self._ceilings = Ceilings(load_catalog())
        self._warned: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Gate {self._ring!r}, {len(self._waiting)} waiting>"

    @property
    def waiting_count(self) -> int:
        """Calls that wait for the control plane."""
        return len(self._waiting)

    @property
    def counts(self) -> bool:
        """Whether this worker can count what its calls use up."""
        return self._counters is not None

    def count_by(self, counters: Admission) -> None:
        """Count there from now on: a column was found, where there was none."""
        counters.calendar = Calendar(self._ring.defaults.time_zone)
        self._counters = counters

    def take(self, time_zone: str) -> None:
        """Let windows begin in this time zone from now on."""
        if self._counters is not None and self._counters.calendar.zone.key != time_zone:
            self._counters.calendar = Calendar(time_zone)

    def admit_route(self, key: Key | None, route: Route) -> None:
        """Let a request go on whose body has not been read.

        Raises:
            PermissionDenied: its route is not for this key, or what it belongs to is blocked.
        """
        held = self._held_to(key or self._anybody)
        if held.blocked is not None:
            raise _blocked(held.blocked)
        if key is not None:
            admit_route(key, route, capped=held.capped)

    def admits(self, exchange: Exchange, text: Body) -> bool:
        """Whether a call goes on; if not, it waits, and its `admit` is called again.

        Args:
            exchange: its attribution is known.
            text: its body, without a content coding.

        Raises:
            NotFound, PermissionDenied: its model or whom it is for is not for this key.
            RateLimited, BudgetReached: a limit or a budget does not allow it.
        """
        caller, charged = exchange.caller, exchange.attribution
        if caller is None or charged is None:
            return True
        key = caller.key
        if key is not None:
            names = None if exchange.batch is None else exchange.batch.names
            admit_models(key, exchange.route, exchange.call, names, exchange.line.models)
            if key.spec.tags and exchange not in self._waiting:
                exchange.attribution = charged = with_tags(charged, key.spec.tags)
        held, unknown = self._held(key or self._anybody, exchange, charged)
        if unknown:
            return self._wait(exchange, text, unknown, {})
        if held.rules.rules and not self._takes(exchange, text, held):
            return False
        if self._waiting:
            self._waiting.pop(exchange, None)
        return True

    def _takes(self, exchange: Exchange, text: Body, held: Held) -> bool:
        """Whether a call has what it wants of all that it is held to; if not, it waits.

        Raises:
            RateLimited, BudgetReached, InvalidRequest: as of `admits`.
        """
        if self._counters is None:
            raise caps.budget_unknown(0.0)
        rules = held.rules.known_at(exchange.started_at)
        demand, ceiling = self._demand(exchange, text, rules, held.habit)
        now = self._clock.now()
        found = self._counters.admit(rules.rules, demand, now)
        if not isinstance(found, Taken):
            if isinstance(found, Refused):
                raise _refusal(rules, found, now)
            return self._wait(exchange, text, [], {need.row: need.granted_nanousd for need in found.needs})
        exchange.hold = Hold(found, ceiling, held.habit)
        if rules.has_soft:
            self._warn(found)
        return True

    def settle(self, exchange: Exchange, usage: Usage | None) -> None:
        """Give back what a call has taken and not used; nothing of a call that was never let through."""
        if self._waiting:
            self._waiting.pop(exchange, None)
        hold = exchange.hold
        if hold is None or self._counters is None:
            return
        if not exchange.attempts:
            self._counters.give_back(hold.taken)
            return
        nanousd = exchange.cost.nanousd if exchange.cost is not None else 0
        if exchange.batch is not None and (batch := created_by(exchange.meter)) is not None:
            nanousd += batch.hold_nanousd  # taken as spent, until its results are read
        input_tokens = output_tokens = 0
        if usage is not None:
            input_tokens = (usage.input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
            output_tokens = usage.output_tokens or 0
            hold.habit.learn_tokens(exchange.body_bytes, input_tokens, output_tokens)
            hold.habit.learn_cost(hold.ceiling_nanousd, nanousd)
        self._counters.settle(hold.taken, input_tokens, output_tokens, nanousd)

    def told(self, exchange: Exchange, kept: bytes) -> bytes:
        """The header lines `kept` of an answer, with the caller's budget in place of the server's limits."""
        hold = exchange.hold
        if hold is None or exchange.route.kind != "messages" or (exchange.status or 0) >= 300:
            return kept
        told, most = b"", -1.0
        spent = exchange.cost.nanousd if exchange.cost is not None else 0
        for part in hold.taken.parts:
            budget = part.rule.budget
            if budget is None:
                break
            if cap := budget.cap_nanousd:
                used = _used_before(part) + spent
                if used / cap > most:
                    told, most = caps.below_cap(used, budget, part.span.end), used / cap
        return caps.without_upstream_limits(kept) + told if told else kept

    def _warn(self, taken: Taken) -> None:
        """Log what is used beyond a soft budget: once a window."""
        for part in taken.parts:
            rule, start = part.rule, part.span.start
            budget, scope = rule.budget, rule.scope
            if budget is None or budget.soft_nanousd is None or self._warned.get(budget.row) == start:
                continue
            used = _used_before(part)
            if used > budget.soft_nanousd:
                if len(self._warned) >= MAX_WARNED:
                    self._warned.clear()
                self._warned[budget.row] = start
                log.warning(
                    "soft budget passed",
                    of=scope.shown if scope is not None else "",
                    window=budget.window or "without end",
                    soft=caps.usd(budget.soft_nanousd),
                    used=caps.usd(used),
                )

    def _held_to(self, key: Key) -> HeldTo:
        held, ring = key.held, self._ring
        if isinstance(held, HeldTo) and held.version == ring.version:
            return held
        ids = [GATEWAY, *key.spec.scopes, *(f"tag:{tag}" for tag in key.spec.tags)]
        key.held = made = HeldTo(
            ring.version, [scope for scope_id in ids if (scope := ring.scope(scope_id)) is not None]
        )
        return made

    def _held(self, key: Key, exchange: Exchange, charged: Attribution) -> tuple[Held, list[str]]:
        """What holds for a call, and the ids of scopes of which that is not known yet."""
        to, kind, model = self._held_to(key), exchange.route.kind, exchange.call.model or ""
        if len(model) > MAX_MODEL_CHARACTERS:
            model = ""
        batch = exchange.batch
        named = {model} if batch is None else batch.names
        found = to.by_call.get((kind, model)) if batch is None else None
        if found is None:
            found = Held(rules_of(to.scopes, kind, named), self._habits.of(key.spec.id, model))
            if batch is None:
                to.keep(kind, model, found)
        if charged.end_user is None and charged.session_id is None and charged.tags is None:
            return found, []
        more, unknown = self._named(to, charged)
        if not more or unknown:
            return found, unknown
        return Held(found.rules.beside(rules_of(more, kind, named)), found.habit), []

    def _named(self, held: HeldTo, charged: Attribution) -> tuple[list[Scope], list[str]]:
        """The scopes that a client names, and the ids of those that are to be made first.

        Raises:
            PermissionDenied: one is blocked.
        """
        ring, defaults = self._ring, self._ring.defaults
        scopes: list[Scope] = []
        unknown: list[str] = []
        named = [
            ("customer:", charged.end_user, defaults.customers),
            ("session:", charged.session_id, defaults.sessions),
            *(("tag:", tag, False) for tag in charged.tags or ()),
        ]
        for prefix, name, is_made in named:
            if name is None:
                continue
            scope = ring.scope(prefix + name)
            if scope is None:
                if is_made:
                    unknown.append(prefix + name)
            elif scope.blocked:
                raise _blocked(scope)
            elif scope not in held.scopes:
                scopes.append(scope)
        return scopes, unknown

    def _demand(self, exchange: Exchange, text: Body, rules: Rules, habit: Habit) -> tuple[Demand, int]:
        """What a call wants; and the most that it can cost, 0 where nobody asks."""
        kind = exchange.route.kind
        if rules.budgets_count:
            check_readable(exchange, text)
        if kind == "count_tokens":
            return Demand(requests=0, count_tokens=1, parallel=0), 0
        if kind == "batch":
            hold = exchange.batch.new.hold_nanousd if exchange.batch is not None else 0
            return Demand(ceiling_nanousd=hold, expected_nanousd=hold), hold
        if kind != "messages":
            return Demand(), 0
        call, body_bytes = exchange.call, len(text)
        input_tokens = output_tokens = ceiling = expected = 0
        if rules.counts_tokens:
            input_tokens, output_tokens = habit.input_tokens(body_bytes), habit.output_tokens(call.max_tokens)
        if rules.budgets_count:
            if self._ceilings.catalog is not exchange.line.catalog:
                self._ceilings = Ceilings(exchange.line.catalog)
            models, extras = [call.model or ""], USUAL
            if rules.has_ceiling:
                models, extras = asked_for(models[0], text)
            ceiling = self._ceilings.nanousd(models, body_bytes, call.max_tokens, exchange.started_at, extras)
            expected = habit.nanousd(ceiling)
        return Demand(1, 0, 1, input_tokens, output_tokens, ceiling, expected), ceiling

    def _wait(self, exchange: Exchange, text: Body, scopes: list[str], rows: dict[int, int]) -> bool:
        now = self._clock.monotonic()
        _, until = self._waiting.get(exchange, (b"", now + self._wait_seconds))
        if now >= until or (exchange not in self._waiting and len(self._waiting) >= MAX_WAITING):
            raise caps.budget_unknown(self._wait_seconds)
        if exchange not in self._waiting:
            self.wants(scopes, rows)
        self._waiting[exchange] = (text, until)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._look_again)
        return False

    def _look_again(self) -> None:
        self._timer = None
        for exchange, (text, _) in list(self._waiting.items()):
            if exchange.settled:
                del self._waiting[exchange]
            else:
                exchange.admit(text)
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._look_again)


def asked_for(model: str, text: Body) -> tuple[list[str], Extras]:
    """What can make a call dear, by a look at the words in its body.

    Returns:
        The models that may answer: the one asked for, and the dearest, where the body speaks of advisors or
        fallbacks. And what else it may ask for.
    """
    if b"\\u00" in text:  # any of the words may be spelled with escapes
        return [model, ""], DEAREST
    more = _names(text, b"advisor") or _names(text, b"fallback")
    extras = Extras(
        cached=_names(text, b"cache_control"),
        fast=_names(text, b"speed"),
        us=_names(text, b"inference_geo"),
        searches=0,
    )
    return [model, ""] if more else [model], extras


def _names(text: Body, word: bytes) -> bool:
    """Whether a member or a value begins with `word`; within a longer text its quotation mark is escaped."""
    return word in text and _BEGINS[word].search(text) is not None


def _used_before(part: Part) -> int:
    """Nano-dollars spent or held of a budget, this call's own hold left out.

    What people are told: the most that one call of Claude Code can cost is $14, and of a budget of $20
    they would be warned before they have spent a cent.
    """
    return part.committed_nanousd - part.quantity


def _blocked(scope: Scope) -> PermissionDenied:
    return PermissionDenied(f"{scope.shown[0].upper()}{scope.shown[1:]} is blocked.")


def _refusal(rules: Rules, refused: Refused, now: float) -> RelayError:
    scope = next(
        rule.scope for rule in rules.rules if rule.limit is refused.rule or rule.budget is refused.rule
    )
    assert scope is not None  # noqa: S101  # `rules_of` has set it
    if isinstance(refused.rule, Budget):
        return caps.budget_reached(scope, refused.rule, refused, now)
    return caps.limit_reached(scope, refused.rule, refused)
