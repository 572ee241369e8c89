"""A worker for which there was no column in the table of counters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ferryman.errors import SettingsError
from ferryman.limits.admission import Admission
from ferryman.limits.spec import GATEWAY, Limit, Scope
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar
from ferryman.relay import process
from ferryman.relay.process import find_column
from ferryman.settings import Settings
from tests.conftest import Bench
from tests.support.edge import answering
from tests.support.gateway import Gateway
from tests.test_gate import ANSWER
from tests.test_keys_on_the_line import MASTER, ask, error_of, spec, with_key


@pytest.fixture
def table(short: Path, line: Bench) -> Iterator[CounterTable]:
    with closing(CounterTable.create(short / "counters", 1)) as made:
        yield made
        line.close()


def test_worker_counts_as_soon_as_a_column_is_free(
    table: CounterTable, line: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COLUMN_SECONDS", 0.01)
    dead = [table.claim(f"dead-{number}") for number in range(table.columns_count)]
    tried: list[int | None] = []

    def claim() -> Admission | None:
        if not tried:
            tried.append(None)
            raise SettingsError(["the table is locked."])
        column = table.claim("the-journal")
        tried.append(column)
        return None if column is None else Admission(table, column, Calendar())

    upstream = line.upstream(answering(ANSWER))
    settings = Settings(port=0, upstream_url=upstream.url, anthropic_api_key="k", master_key=MASTER)
    gateway = line.enter(Gateway(settings))
    limit = Limit("requests", 1, table.row_of("requests"))
    gateway.tell([spec()], [Scope(GATEWAY, "the gateway", limits=[limit])])
    gate = gateway.worker.line.gate
    assert gate is not None
    assert error_of(ask(gateway, with_key()))[:2] == (429, "billing_error")
    looking = asyncio.run_coroutine_threadsafe(find_column(gate, claim), gateway._loop)
    gateway.until(lambda: len(tried) > 2)
    assert error_of(ask(gateway, with_key()))[0] == 429
    assert dead[2] is not None
    table.release(dead[2])
    looking.result(10)
    assert tried[-1] == dead[2]
    assert [ask(gateway, with_key()).status for _ in range(2)] == [200, 429]
