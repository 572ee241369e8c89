"""`ferryman spend`, `ferryman prices` and `ferryman reprice` on a ledger with prices in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from ferryman.cli.ledger import now
from ferryman.cli.main import main
from ferryman.cli.spend import DIMENSIONS
from ferryman.model import Entry, Usage
from ferryman.store.read import Filter
from ferryman.store.store import Store
from tests.support.stores import opened, sqlite_url
from tests.test_store_reprice import priced

Run = tuple[int, str, str]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(opened(url)) as one:
        one.migrate()
        one.write.insert_entries(entries())
        yield one


def entries() -> list[Entry]:
    """An hour ago and before: $4, $8 and, of a model that is not known, $75 and an error."""
    million, twice = Usage(input_tokens=10**6), Usage(input_tokens=2 * 10**6)
    start = now() - timedelta(hours=1)
    return [
        priced(1, started_at=start, model="claude-opus-5-5", tags=["a", "b"], session_id="s", usage=million),
        priced(2, started_at=start, model="claude-opus-5-5", end_user="a", usage=twice),
        priced(3, started_at=start, model="new", principal="p", status=500, usage=Usage(output_tokens=10**6)),
        priced(4, started_at=start, model="new", usage=None),
    ]  # fmt: skip


def run(url: str, *words: str) -> Run:
    done = CliRunner().invoke(main, words, env={"DATABASE_URL": url})
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("by", DIMENSIONS)
def test_spend_tells_every_nano_dollar_in_each_form(store: Store, url: str, by: str) -> None:
    total = sum(one.cost.nanousd for one in entries() if one.cost is not None)
    code, out, err = run(url, "spend", "--by", by, "--since", "2d")
    assert (code, err) == (0, "")
    assert out.splitlines()[-3 if by == "tag" else -1].endswith(f"{total / 1e9:.9f}")
    told = json.loads(run(url, "spend", "--by", by, "--since", "2d", "--format", "json")[1])
    assert told["total"]["cost_nanousd"] == total
    rows = list(
        csv.DictReader(run(url, "spend", "--by", by, "--since", "2d", "--format", "csv")[1].splitlines())
    )
    assert [int(row["cost_nanousd"]) for row in rows] == [row["cost_nanousd"] for row in told["rows"]]
    assert [row[by] for row in rows] == [row[by] for row in told["rows"]]
    if by != "tag":
        assert sum(row["cost_nanousd"] for row in told["rows"]) == total


def test_spend_by_model_is_dearest_first(store: Store, url: str) -> None:
    told = json.loads(run(url, "spend", "--format", "json")[1])
    assert [(row["model"], row["requests"], row["errors"]) for row in told["rows"]] == [
        ("new", 2, 1),
        ("claude-opus-5-5", 2, 0),
    ]
    assert told["rows"][1]["cost_usd"] == "12.00"


def test_spend_of_a_time_without_entries_says_so(store: Store, url: str) -> None:
    assert run(url, "spend", "--until", "2026-01-31") == (
        0, "", "ferryman: nothing was spent in this time.\n"
    )  # fmt: skip
    by_session = run(url, "spend", "--by", "session", "--until", "2h")
    assert "nothing was spent" in by_session[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["spend", "--since", "1d", "--until", "2d"], "`--until` is before `--since`"),
        (["spend", "--by", "session", "--since", "32d"], "of 31 days at most"),
        (["spend", "--since", "x"], "wanted `90s`"),
        (["spend", "--by", "planet"], "planet"),
        (["reprice"], "--since"),
        (["reprice", "--since", "1d", "--until", "2d"], "`--until` is before `--since`"),
        (["reprice", "--since", "1d"], "there is no database"),
    ],
)
def test_what_cannot_be_used_ends_with_2(tmp_path: Path, words: list[str], told: str) -> None:
    code, out, err = run(sqlite_url(tmp_path), *words)
    assert (code, out) == (2, "")
    assert told in err


def test_reprice_shows_then_does_then_has_nothing_to_do(store: Store, url: str, tmp_path: Path) -> None:
    file = tmp_path / "ferryman.yaml"
    file.write_text("prices: {new: {input: 1, output: 2}}\nprice_multipliers: {claude-*: 0.5}\n", "utf-8")
    before = store.read.page(Filter()).entries
    words = ("reprice", "--since", "1d", "--config", str(file))
    code, dry, _ = run(url, *words, "--dry-run")
    assert code == 0
    assert "3 would change; nothing was changed." in dry
    assert store.read.page(Filter()).entries == before
    code, done, _ = run(url, *words)
    assert dry.startswith(done)
    lines = [line.split() for line in done.splitlines()]
    assert [line for line in lines if line[0] in {"claude-opus-5-5", "new", "total"}] == [
        ["claude-opus-5-5", "2", "2", "12.000000000", "6.000000000", "-6.000000000"],
        ["new", "1", "1", "75.000000000", "2.000000000", "-73.000000000"],
        ["total", "3", "3", "87.000000000", "8.000000000", "-79.000000000"],
    ]
    assert json.loads(run(url, "spend", "--format", "json")[1])["total"]["cost_usd"] == "8.00"
    assert run(url, *words)[1].endswith("Every entry costs what it did.\n")
    assert "no entry with usage" in run(url, "reprice", "--since", "2020-01-01", "--until", "2020-01-02")[2]


def test_prices_are_those_in_force(tmp_path: Path) -> None:
    file = tmp_path / "ferryman.yaml"
    file.write_text(
        "prices: {new: {input: 1, output: 2}}\nprice_multipliers: {claude-opus-5-5: 0.5}\n", "utf-8"
    )
    url = sqlite_url(tmp_path)
    code, out, err = run(url, "prices", "--config", str(file))
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[4:] if line}
    assert rows["claude-opus-5-5"] == ["2.00", "10.00", "2.50", "4.00", "0.10"]
    assert rows["new"] == ["override", "1.00", "2.00", "1.25", "2.00", "0.10"]
    assert "claude-opus-4-5" in rows
    one = run(url, "prices", "anthropic/claude-haiku-5.5")[1]
    assert "is priced as claude-haiku-5-5 (catalog)" in one
    assert "100,000" in one
    assert "This model is not known" in run(url, "prices", "some-opus")[1]
