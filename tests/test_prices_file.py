"""Prices of the settings file: a change holds at once, and a mistake changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bench
from tests.support.edge import answering
from tests.support.processes import Family, until
from tests.support.raw import RawClient, post

ANSWER = b'{"model":"claude-opus-5-5","usage":{"input_tokens":1000,"output_tokens":0}}'
ASK = post(b'{"model":"claude-opus-5-5","max_tokens":1}')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ferryman.yaml"
    path.write_text("workers: 2\n")
    return path


@pytest.fixture
def family(tmp_path: Path, file: Path, line: Bench) -> Iterator[Family]:
    upstream = line.upstream(answering(ANSWER))
    with Family(tmp_path, str(file), "--upstream-url", upstream.url) as family:
        yield family


def costs(family: Family) -> set[str]:
    """What each of some new connections is told, which both workers take."""
    told = set()
    for _ in range(8):
        with RawClient(family.port) as client:
            fields = dict(client.ask(ASK).headers)
        told.add(fields[b"x-ferryman-cost-usd"].decode())
    return told


def test_change_of_the_file_holds_without_a_restart(family: Family, file: Path) -> None:
    assert costs(family) == {"0.004000000"}
    file.write_text("workers: 2\nprices:\n  claude-opus-*:\n    input: 7\n")
    until(lambda: costs(family) == {"0.007000000"}, "dearer")
    file.write_text("workers: 2\nprices:\n  claude-opus-*:\n    input: 7\nprice_multipliers:\n  '*': 0.5\n")
    until(lambda: costs(family) == {"0.003500000"}, "at a discount")
    file.write_text("workers: 2\nprices:\n  claude-opus-*:\n    input: much\n")
    problems = family.message("prices not changed")["problems"]
    assert len(problems) == 1
    assert "`much`" in problems[0]
    assert costs(family) == {"0.003500000"}
    file.unlink()
    file.write_text("workers: 2\n")
    until(lambda: costs(family) == {"0.004000000"}, "as the catalog has it")


def test_file_does_not_change_what_the_command_line_says(tmp_path: Path, line: Bench, file: Path) -> None:
    upstream = line.upstream(answering(ANSWER))
    words = (str(file), "--upstream-url", upstream.url, "--price-multipliers", '{"*": "2"}')
    with Family(tmp_path, *words) as family:
        assert costs(family) == {"0.008000000"}
        file.write_text("workers: 2\nprices:\n  claude-opus-*:\n    input: 7\nprice_multipliers:\n  '*': 3\n")
        until(lambda: costs(family) == {"0.014000000"}, "the price of the file")
