"""The one way to start an asyncio task: with a name, an owner, and an end.

The event loop keeps only weak references to tasks, so a task that nobody holds can vanish
half-way. An owner holds its tasks, logs what they raise, and ends them when it closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("ferryman.tasks")


class TaskOwner:
    """Holds the tasks of one part of the program."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<TaskOwner {self.name}: {len(self._tasks)} running>"

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> Callable[[], object]:
        """Start `work`; what it raises is logged with its traceback.

        Returns:
            What cancels it before its time; nobody has to.
        """
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task.cancel

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)

    async def finish(self, seconds: float) -> None:
        """Give what runs `seconds` to end by itself, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
