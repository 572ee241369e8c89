"""A connection to PostgreSQL that gives up a server which does not answer.

`statement_timeout` is kept by the server, and one that hangs keeps nothing; its kernel goes on to answer
keepalives and to take what is sent. So the client looks at the clock too. Imported only where PostgreSQL is
used: its driver is an extra.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

PING_SECONDS = 5.0
"""What a server may take for what costs it nothing: to tell that it is there, and to take settings."""

LOOK_SECONDS = 0.1
"""Between two looks at the clock while nothing comes."""


class PatientConnection(psycopg.Connection[TupleRow]):
    """Waits for one answer as long as `answer_seconds`, and is closed if it does not come.

    Attributes:
        answer_seconds: how long; whoever takes the connection for more than a ping sets it.
    """

    answer_seconds: float = PING_SECONDS

    def wait(self, gen: PQGen[Any], interval: float = LOOK_SECONDS, timeout: float | None = None) -> Any:  # noqa: ANN401  # whatever `gen` returns
        """Wait for what `gen` does with the server, as the driver's own method.

        Raises:
            psycopg.OperationalError: the server did not answer in time.
        """
        more = () if timeout is None else (timeout,)
        return super().wait(self._bounded(gen), interval, *more)

    def _bounded(self, gen: PQGen[Any]) -> PQGen[Any]:
        deadline = time.monotonic() + self.answer_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    break
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        self.close()  # an answer that comes late would be taken for that to the next question
        raise psycopg.OperationalError(f"the server did not answer within {self.answer_seconds:g} s")
