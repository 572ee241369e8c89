"""Believable traffic through a whole Ferryman: teams, people, keys, sessions, errors, budgets."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx

from ferryman.model import Ended, Entry, Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.store.store import Store

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
WEIGHTS = (3, 5, 4)

TIMEOUT_SECONDS = 20.0


class Made(NamedTuple):
    """What was made: texts of keys by their aliases, and ids of sessions."""

    keys: Mapping[str, str]
    sessions: list[str]


class Traffic:
    """Sends it."""

    def __init__(self, url: str, master_key: str, seed: int = 7) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)
        self._master = master_key
        self._random = random.Random(seed)

    def close(self) -> None:
        self._http.close()

    def manage(self, path: str, **members: Any) -> Any:
        """The JSON that the management API answers."""
        headers = {"authorization": f"Bearer {self._master}"}
        response = self._http.post(path, json=members, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, key: str, model: str, usage: Mapping[str, Any], **headers: str) -> httpx.Response:
        """One request, whose answer reports `usage`."""
        said = ",".join(f'"{name}":{value}' for name, value in usage.items())
        wish = f"usage={{{said}}}" if usage else ""
        every = {"x-api-key": key, "anthropic-version": "2023-06-01"} | (
            {"x-simulator": wish} if wish else {}
        )
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = {
            "model": model,
            "max_tokens": 400,
            "messages": [{"role": "user", "content": "Which way is the harbour?"}],
            "stream": True,
        }
        return self._http.post("/v1/messages", json=body, headers=every)

    def usage(self, written: int = 0, read: int = 0) -> dict[str, int]:
        """Some usage, with so many tokens written to the cache and read from it."""
        return {
            "input_tokens": self._random.randint(8, 900),
            "output_tokens": self._random.randint(40, 2_400),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
        }

    def session(self, key: str, number: int) -> str:
        """A session of Claude Code: a main agent, two that it has started, one with one of its own."""
        session = f"5e55104{number}-0000-4000-8000-{number:012x}"
        agents = [
            ("main", None, "main", 9),
            ("agent-explore", "main", "Explore", 5),
            ("agent-plan", "main", "Plan", 3),
            ("agent-tests", "agent-plan", "general-purpose", 4),
        ]
        for agent, parent, kind, requests in agents[: 2 + number % 3]:
            cached = 0
            for turn in range(requests):
                written = self._random.randint(600, 5_000) + (14_000 if turn == 0 else 0)
                headers = {"x_claude_code_session_id": session, "x_claude_code_agent_id": agent}
                headers["x_claude_code_agent_type"] = kind
                headers["x_claude_code_request_class"] = "main" if parent is None else "subagent"
                if parent is not None:
                    headers["x_claude_code_parent_agent_id"] = parent
                if agent == "main" and turn == 6:
                    headers["x_claude_code_request_class"] = "compaction"
                model = MODELS[0] if agent == "main" else MODELS[2]
                if turn == 4 and number % 2:
                    headers["x_simulator"] = "status=529"
                    self.ask(key, model, {}, **headers)
                    continue
                self.ask(key, model, self.usage(written, cached), **headers)
                cached += written
        return session

    def everything(self, *, sessions: int = 5, requests: int = 40) -> Made:
        """All of it."""
        keys: dict[str, str] = {}
        self.manage("/budget/new", budget_id="interns", max_budget=25, budget_duration="30d", rpm_limit=60)
        self.manage(
            "/team/new", team_id="platform", team_alias="Platform", max_budget=400, budget_duration="30d"
        )
        self.manage("/team/new", team_id="research", team_alias="Research", models=["claude-*"])
        people = (("ann", "platform"), ("ben", "platform"), ("chidi", "research"), ("dana", "research"))
        for name, team in people:
            self.manage(
                "/user/new",
                user_id=name,
                user_email=f"{name}@example.org",
                team_id=team,
                auto_create_key=False,
            )
            keys[f"{name}-laptop"] = self.manage(
                "/key/generate", key_alias=f"{name}-laptop", user_id=name, team_id=team
            )["key"]
        more: tuple[tuple[str, dict[str, Any]], ...] = (
            ("ci-pipeline", {"team_id": "platform", "max_budget": 0.9, "budget_duration": "1d"}),
            (
                "support-bot",
                {"team_id": "research", "max_budget": 2, "budget_duration": "7d", "rpm_limit": 600},
            ),
            ("intern", {"budget_id": "interns"}),
            ("old-notebook", {"duration": "90d"}),
        )
        for alias, fields in more:
            keys[alias] = self.manage("/key/generate", key_alias=alias, **fields)["key"]
        self.manage("/key/block", key=keys["old-notebook"])
        owners = [keys[f"{name}-laptop"] for name, _ in people]
        made = [self.session(owners[number % len(owners)], number) for number in range(sessions)]
        for number in range(requests):
            alias = self._random.choice(["ci-pipeline", "support-bot", "intern", "ann-laptop"])
            model = self._random.choices(MODELS, WEIGHTS)[0]
            headers = {"x_litellm_end_user_id": f"customer-{number % 6}"} if alias == "support-bot" else {}
            if number % 13 == 5:
                self.ask(keys[alias], model, {}, x_simulator="status=400", **headers)
            elif number % 17 == 9:
                self.ask(keys[alias], "claude-nightly-9", self.usage(), **headers)
            else:
                self.ask(keys[alias], model, self.usage(read=self._random.randint(0, 9_000)), **headers)
        return Made(keys, made)


def history(store: Store, principals: list[str], *, days: int, now: datetime, seed: int = 11) -> None:
    """Put entries of the `days` before today into the ledger, as if there had been traffic."""
    chance, catalog = random.Random(seed), load_catalog()
    number = 0
    for back in range(days, 0, -1):
        day = (now - timedelta(days=back)).replace(hour=9, minute=0, second=0, microsecond=0)
        busy = 4 if day.weekday() >= 5 else 16 + days - back // 2
        batch = []
        for _ in range(busy):
            number += 1
            at = day + timedelta(seconds=chance.randint(0, 30_000))
            usage = Usage(
                input_tokens=chance.randint(20, 3_000),
                output_tokens=chance.randint(100, 4_000),
                cache_creation_input_tokens=chance.randint(0, 9_000),
                cache_read_input_tokens=chance.randint(10_000, 200_000),
            )
            model = chance.choices(MODELS, WEIGHTS)[0]
            batch.append(_entry(number, at.astimezone(UTC), model, chance.choice(principals), usage, catalog))
        store.write.insert_entries(sorted(batch, key=lambda one: one.id))


def _entry(number: int, at: datetime, model: str, principal: str, usage: Usage, catalog: Any) -> Entry:
    time = f"{int(at.timestamp() * 1000):012x}"
    return Entry(
        id=f"{time[:8]}-{time[8:]}-7{number % 4096:03x}-8000-{number:012x}",
        started_at=at,
        method="POST",
        path="/v1/messages",
        model=model,
        principal=principal,
        ended=Ended.DONE,
        status=200,
        stream=True,
        attempts=1,
        usage=usage,
        usage_complete=True,
        cost=cost_of(usage, model, Terms(at), catalog),
        request_bytes=2_000,
        response_bytes=9_000,
        duration_seconds=4.0,
        time_to_first_byte_seconds=0.6,
        overhead_seconds=0.0002,
    )
