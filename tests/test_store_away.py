"""A database that is away, that hangs, or that dies: what the store makes of it."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from ferryman.errors import StoreUnavailable
from ferryman.store.engine import ANSWER_SECONDS, CONNECT_SECONDS
from ferryman.store.postgres import PING_SECONDS, PatientConnection
from ferryman.store.read import Filter
from tests.support.postgres import Server
from tests.support.stores import entry, opened, sqlite_url

SLACK_SECONDS = 5.0
"""Of a busy machine."""


def test_database_that_is_away_is_told_from_a_fault(server: Server, tmp_path: Path) -> None:
    with closing(opened(server.database())) as store:
        store.migrate()
        server.stop()
        with pytest.raises(StoreUnavailable):
            store.write.insert_entries([entry(1)])
        server.start()
        assert store.write.insert_entries([entry(1)]) == 1
    with closing(opened(sqlite_url(tmp_path))) as store:
        store.migrate()
        (tmp_path / "test.db").unlink()
        store.close()
        (tmp_path / "test.db").mkdir()
        with pytest.raises(StoreUnavailable):
            store.write.insert_entries([entry(1)])


@pytest.mark.slow
def test_database_that_hangs_is_given_up_and_found_again(server: Server) -> None:
    """It keeps its connections and answers nothing: no time-out of its own ends that."""
    with closing(opened(server.database())) as store:
        store.migrate()
        server.hang()
        try:
            for bound_seconds in (PING_SECONDS + CONNECT_SECONDS, CONNECT_SECONDS):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    store.write.insert_entries([entry(1)])
                assert time.monotonic() - began < bound_seconds + SLACK_SECONDS
        finally:
            server.go_on()
        assert store.write.insert_entries([entry(1)]) == 1


def test_statement_without_an_answer_is_given_up_with_its_connection(server: Server) -> None:
    with PatientConnection.connect(server.database()) as connection:
        connection.answer_seconds = 0.3
        with pytest.raises(psycopg.OperationalError, match=r"did not answer within 0\.3 s"):
            connection.execute("SELECT pg_sleep(10)")
        assert connection.closed


def test_connection_in_use_waits_longer_than_the_time_out_of_its_statements(server: Server) -> None:
    with closing(opened(server.database())) as store, store._engines.write.connect() as taken:
        driver = taken.connection.driver_connection
        assert isinstance(driver, PatientConnection)
        assert driver.answer_seconds == ANSWER_SECONDS
        assert taken.exec_driver_sql("SHOW statement_timeout").scalar() == "30s"


def test_what_is_committed_outlives_a_killed_server_whose_default_is_otherwise(server: Server) -> None:
    with closing(opened(server.database())) as store:
        store.migrate()
        with store._engines.read.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        for number in range(20):
            store.write.insert_entries([entry(number)])
        server.kill()
        server.start()
        assert store.read.count(Filter()).number == 20
