"""A sink that calls a Python function of the operator's."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from ferryman.errors import SettingsError, SinkFailed
from ferryman.telemetry.sinks.sink import Batch


class Callback:
    """Calls `function` with a list of dictionaries; it may be a coroutine function."""

    def __init__(self, name: str, function: Callable[[list[dict[str, Any]]], object]) -> None:
        """`name` is its dotted path."""
        self.name = f"callback {name}"
        self._function = function

    def __repr__(self) -> str:
        return f"<Callback {self.name}>"

    def deliver(self, batch: Batch) -> None:
        """See `Sink`; whatever the function raises is a failure."""
        entries = [msgspec.json.decode(record) for record in batch.records]
        try:
            answer = self._function(entries)
            if inspect.iscoroutine(answer):
                asyncio.run(answer)
        except BaseException as error:  # sys.exit and cancelled tasks too: its thread must outlive them
            raise SinkFailed(f"{self.name} raised {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """See `Sink`."""


def found(name: str) -> Callback:
    """The function with this dotted path.

    Raises:
        SettingsError: there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever its module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError([f"callbacks: `{name}` cannot be imported: {reason}."]) from error
    if not callable(function):
        raise SettingsError([f"callbacks: `{name}` is no function."])
    return Callback(name, function)
