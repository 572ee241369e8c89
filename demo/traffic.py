"""A day's work through a whole Ferryman: teams, people, keys, Claude Code's sessions, errors, budgets.

Each request is a real one. What its answer says was used is told to the simulator with it, since no model
reads what is sent. Tests of the console use the same, without its waiting.
"""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import cycle
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

OPUS, SONNET, HAIKU = MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
WEIGHTS = (3, 5, 4)
UNKNOWN_MODEL = "claude-nightly-9"
"""That no catalog of prices knows."""

TIMEOUT_SECONDS = 20.0
AT_ONCE = 12
"""Requests: as many as two cores carry beside the servers, which run there too."""

PEOPLE = (("ann", "platform"), ("ben", "platform"), ("chidi", "research"), ("dana", "research"))

CI_BUDGET_DOLLARS = 0.9
CI_SHARE = 0.9
"""Of its budget, which the pipeline uses; it stops before the gateway has to stop it."""

MAX_CI_REQUESTS = 60
"""After which something is wrong with the costs that it is told."""

OTHER_KEYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ci-pipeline", {"team_id": "platform", "max_budget": CI_BUDGET_DOLLARS, "budget_duration": "1d"}),
    ("support-bot", {"team_id": "research", "max_budget": 6, "budget_duration": "7d", "rpm_limit": 600}),
    ("intern", {"budget_id": "interns", "aliases": {"best": "opus"}}),
    ("old-notebook", {"duration": "90d"}),
)

QUESTIONS = (
    "Which way is the harbour?",
    "Why does the timetable test fail on Sundays?",
    "Sum up the tickets of this week.",
    "Write a query for the ten busiest crossings.",
    "Is this refund allowed by our terms?",
)


ALIASES = {"opus": OPUS, "sonnet": SONNET, "haiku": HAIKU}
"""For the settings of the gateway."""


class Agent(NamedTuple):
    """One of a session, and how many requests it makes."""

    id: str
    parent: str | None
    type: str
    requests: int


AGENTS = (
    Agent("main", None, "main", 9),
    Agent("agent-explore", "main", "Explore", 5),
    Agent("agent-plan", "main", "Plan", 3),
    Agent("agent-tests", "agent-plan", "general-purpose", 4),
)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
COMPACTED_TURN, FAILED_TURN = 6, 4


class Made(NamedTuple):
    """What was made: texts of keys by their aliases, and ids of sessions."""

    keys: Mapping[str, str]
    sessions: list[str]


class Stopped(Exception):
    """Nobody wants any more of it."""


class Traffic:
    """Sends it.

    Attributes:
        sent: requests so far that were answered, whatever with.
    """

    def __init__(self, url: str, master_key: str, *, seed: int = 7, is_paced: bool = False) -> None:
        """Nothing is sent yet.

        Args:
            url: of the gateway.
            master_key: of it.
            seed: the same one sends the same.
            is_paced: answers take as long as a model's would, or a tenth of it, instead of no time.
        """
        limits = httpx.Limits(max_connections=AT_ONCE)
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False, limits=limits)
        self._master = master_key
        self._seed = seed
        self._is_paced = is_paced
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.sent = 0

    def close(self) -> None:
        """Send nothing more; what is under way ends by itself."""
        self._stop.set()
        self._http.close()

    def manage(self, path: str, **members: Any) -> Any:  # noqa: ANN401  # JSON
        """The JSON that the management API answers."""
        headers = {"authorization": f"Bearer {self._master}"}
        response = self._http.post(path, json=members, headers=headers)
        response.raise_for_status()
        return response.json()

    def setup(self) -> dict[str, str]:
        """Make budgets, teams, people and keys; the texts of the keys by their aliases."""
        self.manage("/budget/new", budget_id="interns", max_budget=25, budget_duration="30d", rpm_limit=60)
        self.manage(
            "/team/new", team_id="platform", team_alias="Platform", max_budget=400, budget_duration="30d"
        )
        self.manage("/team/new", team_id="research", team_alias="Research", models=["claude-*"])
        keys: dict[str, str] = {}
        for name, team in PEOPLE:
            email = f"{name}@example.org"
            self.manage("/user/new", user_id=name, user_email=email, team_id=team, auto_create_key=False)
            alias = f"{name}-laptop"
            made = self.manage("/key/generate", key_alias=alias, user_id=name, team_id=team)
            keys[alias] = made["key"]
        for alias, fields in OTHER_KEYS:
            keys[alias] = self.manage("/key/generate", key_alias=alias, **fields)["key"]
        self.manage("/key/block", key=keys["old-notebook"])
        return keys

    def everything(
        self, *, sessions: int = 5, requests: int = 40, on_progress: Callable[[int, int], None] | None = None
    ) -> Made:
        """All of it.

        Args:
            sessions: of Claude Code.
            requests: beside those of sessions and of the pipeline.
            on_progress: is told how many pieces of work are done, of how many.

        Raises:
            httpx.HTTPError: the gateway is not there, or refuses what has to be done.
        """
        keys = self.setup()
        owners = [keys[f"{name}-laptop"] for name, _ in PEOPLE]
        ids = [self._session_id(number) for number in range(sessions)]
        works: list[Callable[[], None]] = [lambda: self._pipeline(keys["ci-pipeline"])]  # the longest first
        works += [
            lambda one=one, owner=owner, number=number: self.session(owner, one, number)  # type: ignore[misc]  # bound at once
            for number, (one, owner) in enumerate(zip(ids, cycle(owners), strict=False))
        ]
        works += [lambda number=number: self._single(keys, number) for number in range(requests)]  # type: ignore[misc]  # the same
        self._work(works, on_progress)
        return Made(keys, ids)

    def _work(self, works: list[Callable[[], None]], on_progress: Callable[[int, int], None] | None) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    if on_progress is not None:
                        on_progress(done, len(works))
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def session(self, key: str, session_id: str, number: int) -> None:
        """A session of Claude Code: a main agent, and those that it has started, one with one of its own."""
        draw = self._random("session", number)
        for agent in AGENTS[: 2 + number % 3]:
            cached = 0
            for turn in range(agent.requests):
                written = draw.randint(600, 5_000) + (14_000 if turn == 0 else 0)
                headers = _headers(session_id, agent, turn)
                model = OPUS if agent.id == "main" else HAIKU
                if turn == FAILED_TURN and number % 2:
                    self.ask(key, model, "status=529", draw, headers)
                    continue
                self.ask(key, model, usage(draw, written, cached), draw, headers)
                cached += written

    def _pipeline(self, key: str) -> None:
        """What nearly uses up a budget: it knows its costs, since whole answers tell them."""
        draw, spent = self._random("pipeline", 0), 0.0
        for _ in range(MAX_CI_REQUESTS):
            answer = self.ask(key, OPUS, usage(draw, read=draw.randint(0, 9_000)), draw, is_whole=True)
            spent += float(answer.headers.get("x-ferryman-cost-usd", 0))
            if spent >= CI_SHARE * CI_BUDGET_DOLLARS:
                return

    def _single(self, keys: Mapping[str, str], number: int) -> None:
        """A request that belongs to no session."""
        draw = self._random("single", number)
        alias = draw.choice(["support-bot", "support-bot", "intern", "ann-laptop", "ben-laptop"])
        model = draw.choices(MODELS, WEIGHTS)[0]
        headers = {"x-litellm-end-user-id": f"customer-{number % 6}"} if alias == "support-bot" else {}
        wish = usage(draw, read=draw.randint(0, 9_000))
        if number % 13 == 5:
            wish = "status=400"
        elif number % 23 == 9:
            model = UNKNOWN_MODEL
        elif number % 19 == 11:
            wish = "error-event=5"
        self.ask(keys[alias], model, wish, draw, headers)

    def ask(
        self,
        key: str,
        model: str,
        wish: str,
        draw: random.Random,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        is_whole: bool = False,
    ) -> httpx.Response:
        """One request, with what the simulator is to do; it streams unless `is_whole`.

        Raises:
            Stopped: by `close`.
            httpx.HTTPError: the gateway is not there.
        """
        if self._stop.is_set():
            raise Stopped
        if self._is_paced:
            wish += f"; slow-start={draw.uniform(0.1, 0.5):.2f}; pace={draw.uniform(0.005, 0.03):.3f}"
        every = {"x-api-key": key, "anthropic-version": "2023-06-01", "x-simulator": wish}
        every |= headers
        body = {
            "model": model,
            "max_tokens": 400,
            "messages": [{"role": "user", "content": draw.choice(QUESTIONS)}],
            "stream": not is_whole,
        }
        answer = self._http.post("/v1/messages", json=body, headers=every)
        with self._lock:
            self.sent += 1
        return answer

    def _random(self, kind: str, number: int) -> random.Random:
        """Chance of its own for each piece of work, since they are done in any order."""
        return random.Random(f"{self._seed} {kind} {number}")

    def _session_id(self, number: int) -> str:
        return str(uuid.UUID(int=self._random("id", number).getrandbits(128), version=4))


def _headers(session_id: str, agent: Agent, turn: int) -> dict[str, str]:
    """What Claude Code says about its requests."""
    kind = "main" if agent.parent is None else "subagent"
    headers = {
        "x-claude-code-session-id": session_id,
        "x-claude-code-agent-id": agent.id,
        "x-claude-code-agent-type": agent.type,
        "x-claude-code-request-class": "compaction" if turn == COMPACTED_TURN else kind,
    }
    return headers if agent.parent is None else headers | {"x-claude-code-parent-agent-id": agent.parent}


def usage(draw: random.Random, written: int = 0, read: int = 0) -> str:
    """The wish for some usage, with so many tokens written to the cache and read from it."""
    said = {
        "input_tokens": draw.randint(8, 900),
        "output_tokens": draw.randint(40, 2_400),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }
    return f"usage={json.dumps(said)}"
