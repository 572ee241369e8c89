"""A session's requests as a tree of agents: who has started whom, and what each has cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

from ferryman.model import Entry
from ferryman.store.rows import has_failed

COMPACTION = "compaction"
"""Claude Code's word for a request that shortens what was said before."""


MAX_DEPTH = 50
"""Of agents below one that nobody has started. Ids come from clients, and a page calls itself for each level:
Python allows some 300 of them. Deeper agents all stand at this one."""


class Agent:
    """One agent.

    Attributes:
        agent_id: `None` for requests that name no agent, which are the main one's.
        entries: its own, oldest first.
        children: agents that it has started, in the order in which they began.
    """

    def __init__(self, agent_id: str | None) -> None:
        self.agent_id = agent_id
        self.entries: list[Entry] = []
        self.children: list[Self] = []

    def __repr__(self) -> str:
        return f"<Agent {self.agent_id} {len(self.entries)} entries>"

    @property
    def kind(self) -> str:
        """What it is called: its type, or what it is for."""
        named = next((entry.agent_type for entry in self.entries if entry.agent_type), None)
        return named or ("main" if self.agent_id is None else "agent")

    @property
    def started_at(self) -> datetime:
        """When its first request began, or that of an agent of its own."""
        every = [entry.started_at for entry in self.entries] + [one.started_at for one in self.children]
        return min(every)

    @property
    def ended_at(self) -> datetime:
        """When its last answer had ended."""
        return max(entry.started_at + timedelta(seconds=entry.duration_seconds) for entry in self.entries)

    @property
    def cost_nanousd(self) -> int:
        """Of its own requests."""
        return sum(entry.cost.nanousd for entry in self.entries if entry.cost is not None)

    @property
    def whole_cost_nanousd(self) -> int:
        """The same, with all that it has started."""
        return self.cost_nanousd + sum(one.whole_cost_nanousd for one in self.children)

    @property
    def errors(self) -> int:
        """Requests that have failed."""
        return sum(has_failed(entry.ended.value, entry.status) for entry in self.entries)

    @property
    def compactions(self) -> int:
        """How often what was said before has been shortened."""
        return sum(entry.request_class == COMPACTION for entry in self.entries)

    @property
    def models(self) -> list[str]:
        """That were asked, each once."""
        return list(dict.fromkeys(entry.model for entry in self.entries if entry.model))

    def tokens(self, name: str) -> int:
        """The sum of a count of the usages."""
        return sum(getattr(entry.usage, name) or 0 for entry in self.entries if entry.usage is not None)

    @property
    def total_input_tokens(self) -> int:
        """All that was sent, from the cache or not."""
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return sum(self.tokens(name) for name in names)


def tree_of(entries: Iterable[Entry]) -> list[Agent]:
    """The agents that nobody has started who is there, oldest first, with all others below them.

    An agent whose parent is not known, or that would be its own ancestor, stands at the top, and none below
    `MAX_DEPTH`: ids come from clients, who may say anything.
    """
    agents: dict[str | None, Agent] = {}
    parents: dict[str | None, str | None] = {}
    for entry in sorted(entries, key=lambda one: one.started_at):
        agents.setdefault(entry.agent_id, Agent(entry.agent_id)).entries.append(entry)
        if entry.agent_id is not None and entry.parent_agent_id is not None:
            parents.setdefault(entry.agent_id, entry.parent_agent_id)
    tops = []
    for agent_id, agent in agents.items():
        parent = _parent(agent_id, parents, agents)
        if parent is None:
            tops.append(agent)
        else:
            parent.children.append(agent)
    for agent in agents.values():
        agent.children.sort(key=lambda one: one.entries[0].started_at)
    return tops


def together(entries: Iterable[Entry]) -> Agent:
    """All requests as if one agent had made them."""
    one = Agent(None)
    one.entries = sorted(entries, key=lambda entry: entry.started_at)
    return one


def _parent(
    agent_id: str | None, parents: dict[str | None, str | None], agents: dict[str | None, Agent]
) -> Agent | None:
    """Below whom an agent stands."""
    if agent_id is None:
        return None
    line: dict[str, Agent] = {}  # of its ancestors, in their order
    above = parents.get(agent_id)
    while above is not None and above in agents:
        if above in line or above == agent_id:
            return None
        line[above] = agents[above]
        above = parents.get(above)
    if line:
        return list(line.values())[-MAX_DEPTH:][0]
    return agents.get(None)  # started by the main agent, which names itself to nobody
