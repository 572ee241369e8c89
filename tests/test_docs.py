"""The documentation says what is there: all names of the code and no others, and commands that run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import ferryman
from ferryman.cli.logs import WHERE
from ferryman.cli.main import main
from ferryman.control.asking import MAX_WAITING
from ferryman.control.spend_query import LIST_PARAMETERS, PAGE_PARAMETERS
from ferryman.control.spend_row import litellm_fields
from ferryman.control.traces import END_SECONDS
from ferryman.errors import BudgetReached, RateLimited, RelayError, error_headers
from ferryman.http1.request import MAX_HEADERS
from ferryman.model import CacheCreation, Cost, Ended, Entry, OutputTokensDetails, ServerToolUse, Usage
from ferryman.pricing.catalog import FALLBACK
from ferryman.pricing.cost import BILLED_CATEGORIES, REFUSALS_BILLED_FROM, REFUSALS_FREE_FROM
from ferryman.pricing.estimate import BYTES_PER_TOKEN
from ferryman.pricing.shapes import CLASSES
from ferryman.relay import respond
from ferryman.relay.address import MAX_HOPS
from ferryman.relay.attribute import MAX_NOTES_BYTES, MAX_TAGS, MAX_TEXT
from ferryman.relay.forward import STALE_SECONDS
from ferryman.relay.listen import TLS_SHUTDOWN_SECONDS
from ferryman.relay.route import OWN_PATHS
from ferryman.settings_load import load
from ferryman.settings_prices import PER_TOKEN
from ferryman.settings_table import env_names, rows
from ferryman.simulator.control import KEYS
from ferryman.simulator.server import Server as Simulator
from ferryman.telemetry.lines import json_line
from ferryman.telemetry.log import text_line
from ferryman.wire.edit import MAX_MEMBERS
from ferryman.wire.names import (
    CHARGES,
    DEFAULT_VERSION,
    FORWARDED,
    HINTS,
    OWN_CREDENTIALS,
    TRACEPARENT,
    UPSTREAM_CREDENTIALS,
    VERSION,
)
from ferryman.wire.request import MAX_METADATA_BYTES
from tests.conftest import Bench
from tests.support.stores import entry

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRITTEN_BY_THE_BENCH = {ROOT / "docs" / "bench.md", ROOT / "docs" / "bench.svg"}
LISTENS_AT = "http://127.0.0.1:4000"
DEADLINE_SECONDS = 40

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def rows_of(page: Path, heading: str) -> list[list[str]]:
    """The cells of each row of the first table below `heading`, which is a whole line; no code marks."""
    _, found, below = f"\n{page.read_text('utf-8')}".partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    table = re.search(r"^\|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert table is not None
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in table[1].splitlines()]


def first_cells(page: Path, heading: str) -> set[str]:
    return {row[0] for row in rows_of(page, heading)}


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def all_blocks(language: str, holding: str = "") -> list[object]:
    """A test case for each block of a language in all pages that holds a text."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, language))
        if holding in block
    ]


def commands() -> list[str]:
    """Every line of a shell block that calls `ferryman`, without what stands before it."""
    call = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\S*/)?ferryman(?= |$)(.*)")
    found = []
    for page in PAGES:
        units = re.findall(r"^ExecStart\w*=(.*\n)", page.read_text("utf-8"), re.MULTILINE)
        lines = "".join([*blocks(page, "sh"), *units]).replace("\\\n", " ").splitlines()
        calls = (call.match(line.partition("  #")[0]) for line in lines)
        found += [called[1].strip() for called in calls if called]
    return found


def errors() -> list[type[RelayError]]:
    return RelayError.__subclasses__()


def test_generated_parts_are_up_to_date() -> None:
    script = ROOT / "scripts" / "docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_every_setting_stands_with_its_names() -> None:
    shown = {
        row[0]: row
        for row in rows_of(REFERENCE / "settings.md", "<!-- begin settings: written by scripts/docs.py -->")
    }
    assert list(shown) == [row.name for row in rows()]
    for row in rows():
        assert re.findall(r"\w+", shown[row.name][3]) == list(env_names(row))
        assert ("--" in shown[row.name][4]) is not row.metadata["secret"]


def test_every_command_stands_with_its_help() -> None:
    text = (REFERENCE / "cli.md").read_text("utf-8")
    groups: list[tuple[str, click.Command]] = [("ferryman", main)]
    while groups:
        path, command = groups.pop()
        assert f"## `{path}`\n" in text
        if isinstance(command, click.Group):
            groups += [(f"{path} {name}", child) for name, child in command.commands.items()]


def test_every_error_stands_with_what_a_client_gets() -> None:
    shown = {row[0]: row[1:5] for row in rows_of(REFERENCE / "errors.md", "# Errors")}
    expected = {}
    for error in errors():
        is_timed = issubclass(error, RateLimited | BudgetReached)
        headers = dict(error_headers(error("", 7) if is_timed else error("")))  # type: ignore[call-arg]  # as these two are made
        again = headers.get(b"x-should-retry", b"").decode()
        expected[error.__name__] = [
            str(error.status),
            error.error_type,
            again,
            "seconds" if is_timed else headers.get(b"retry-after", b"").decode(),
        ]
    assert shown == expected


def test_every_error_stands_in_the_tree_of_its_module() -> None:
    assert ferryman.errors.__doc__ is not None
    for error in errors():
        assert re.search(rf"─ {error.__name__} +{error.status} +{error.error_type} ", ferryman.errors.__doc__)


def test_every_field_of_the_log_line_stands() -> None:
    page = REFERENCE / "log.md"
    assert first_cells(page, "## Fields") == set(Entry.__struct_fields__)
    assert first_cells(page, "### `ended`") == {ended.value for ended in Ended}
    usage = {row[0]: row[2] for row in rows_of(page, "### `usage`")}
    assert list(usage) == list(Usage.__struct_fields__)
    parts = {
        "cache_creation": CacheCreation,
        "server_tool_use": ServerToolUse,
        "output_tokens_details": OutputTokensDetails,
    }
    assert first_cells(page, "### `cost`") == set(Cost.__struct_fields__)
    for name, part in parts.items():
        assert set(part.__struct_fields__) <= set(re.findall(r"\w+", usage[name]))


def test_samples_of_the_log_line_are_one_and_the_same() -> None:
    page = REFERENCE / "log.md"
    (sample,), (text, *_) = blocks(page, "json"), blocks(page, "text")
    told = msgspec.json.encode(msgspec.json.decode(sample, type=Entry))
    assert json_line(told).decode() == sample
    assert text_line(told).decode() == text


def test_every_path_and_header_of_our_own_stands() -> None:
    page = REFERENCE / "paths.md"
    assert first_cells(page, "## Answered by Ferryman itself") == {path.decode() for path in OWN_PATHS}
    sent = first_cells(page, "## Response headers of Ferryman's own")
    ours = (b"x-ferryman-", b"x-litellm-")
    assert sent == {name.decode() for name in respond.DROPPED if name.startswith(ours)} | {"request-id"}
    read = first_cells(page, "## Request headers with a meaning")
    looked_at = (
        OWN_CREDENTIALS
        | UPSTREAM_CREDENTIALS
        | FORWARDED
        | HINTS
        | CHARGES
        | {VERSION, TRACEPARENT, b"expect"}
    )
    assert read == {name.decode() for name in looked_at}


def test_every_parameter_and_field_of_the_ledger_stands() -> None:
    page = ROOT / "docs" / "spend.md"
    assert first_cells(page, "## `ferryman logs`") == set(WHERE)
    assert first_cells(page, "## `GET /spend/logs/v2`") == set(PAGE_PARAMETERS)
    assert first_cells(page, "## `GET /spend/logs`") == set(LIST_PARAMETERS)
    assert first_cells(page, "## A row") == set(litellm_fields(entry(1)))
    assert f"more than {MAX_WAITING} such requests at once" in page.read_text("utf-8")


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    concepts = (ROOT / "docs" / "concepts.md").read_text("utf-8")
    assert f"it died within {STALE_SECONDS:g} seconds" in concepts
    assert f"`anthropic-version: {DEFAULT_VERSION.decode()}` is added" in concepts
    assert f"it is cut after {TLS_SHUTDOWN_SECONDS:g} seconds" in concepts
    fronts = (ROOT / "docs" / "fronts.md").read_text("utf-8")
    assert f"At most {MAX_HOPS} addresses of a request are read." in fronts
    assert f"more than {MAX_HEADERS} lines" in (REFERENCE / "errors.md").read_text("utf-8")


def test_bounds_of_attribution_are_those_of_the_code() -> None:
    page = ROOT / "docs" / "attribution.md"
    bounds = {row[0]: row[1] for row in rows_of(page, "## Bounds")}
    assert list(bounds.values()) == [
        f"{MAX_TAGS}",
        f"{MAX_TEXT} characters",
        f"{MAX_TEXT} characters",
        f"{MAX_NOTES_BYTES:,} bytes of JSON",
        f"{MAX_METADATA_BYTES:,} bytes",
        f"{MAX_MEMBERS:,}",
    ]


def test_page_of_prices_has_the_rules_of_the_code() -> None:
    text = (ROOT / "docs" / "prices.md").read_text("utf-8")
    named = {*CLASSES, *PER_TOKEN, *BILLED_CATEGORIES}
    assert named <= set(re.findall(r"`(\w+)`", text))
    assert f"`price_source: {FALLBACK}`" in text
    assert f"is billed since {REFUSALS_BILLED_FROM:%Y-%m-%d} if" in text
    assert f"from {REFUSALS_FREE_FROM:%Y-%m-%d} until then" in text
    assert ("a third of the bytes" in text) is (BYTES_PER_TOKEN == 3)


def test_every_key_of_the_simulator_stands() -> None:
    heading = "<!-- begin keys: written by scripts/docs.py -->"
    assert first_cells(ROOT / "docs" / "simulator.md", heading) == set(KEYS)


def test_every_check_of_the_doctor_stands() -> None:
    makers = r"\b(?:ok|problem|warning|skipped|refused|directory_check)\(\s*\"([a-z ]+)\""
    sources = (ROOT / "src" / "ferryman" / "doctor").glob("*.py")
    checks = {name for path in sources for name in re.findall(makers, path.read_text("utf-8"))}
    assert first_cells(ROOT / "docs" / "doctor.md", "## What is looked at") == checks


def test_every_attribute_of_a_span_stands() -> None:
    source = (ROOT / "src" / "ferryman" / "telemetry" / "spans.py").read_text("utf-8")
    attributes = set(re.findall(r"\"((?:[a-z_]+\.)+[a-z_]+)\"", source))
    page = ROOT / "docs" / "tracing.md"
    assert first_cells(page, "## What is in a span") == attributes
    assert f"Ferryman waits {END_SECONDS:g} seconds for the last ones" in page.read_text("utf-8")


def test_version_stands_in_readme_and_changelog() -> None:
    for name in ("README.md", "CHANGELOG.md"):
        assert ferryman.__version__ in (ROOT / name).read_text("utf-8")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        target, _, fragment = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists() or path in WRITTEN_BY_THE_BENCH, link
        if fragment:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            assert fragment in {
                re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-") for text in headings
            }, link


@each_page
def test_scripts_and_tests_that_are_named_exist(page: Path) -> None:
    for name in re.findall(
        r"(?<![\w/])((?:scripts|tests|src|bench|deploy)/[\w./]+)", page.read_text("utf-8")
    ):
        assert (ROOT / name.rstrip(".")).exists(), name


@each_page
def test_words_that_belittle_the_reader_are_missing(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert not re.findall(r"\b(?:simply|just|easy|easily|obviously)\b", text, re.IGNORECASE)


@pytest.mark.parametrize("command", commands())
def test_command_is_one_that_ferryman_takes(command: str) -> None:
    words = re.findall(r"'[^']*'|\S+", command)
    group, named = main, "serve"
    if words and words[0] in main.commands:
        named = words.pop(0)
    found: click.Command = group.commands[named]
    if isinstance(found, click.Group):
        found = found.commands[words.pop(0)]
    found.make_context(named, [word.strip("'") for word in words])


@pytest.mark.parametrize("block", all_blocks("yaml"))
def test_config_file_is_one_that_ferryman_takes(tmp_path: Path, block: str) -> None:
    file = tmp_path / "ferryman.yaml"
    file.write_text(block, "utf-8")
    named = dict.fromkeys(re.findall(r"api_key_env: (\w+)", block), "sk-ant-named")
    loaded = load({}, environ=named, directory=tmp_path)
    assert str(file) in loaded.sources.values()


@pytest.mark.parametrize("block", all_blocks("python"))
def test_python_of_the_pages_prints_an_answer(line: Bench, block: str) -> None:
    with Simulator() as simulator:
        url = line.gateway(simulator.url).url
        done = run([sys.executable, "-c", block.replace(LISTENS_AT, url)], url)
    assert "You began with “Hello, Claude”." in done


@pytest.mark.parametrize("block", all_blocks("sh", f"{LISTENS_AT}/v1/"))
def test_curl_of_the_pages_prints_an_answer(line: Bench, block: str) -> None:
    with Simulator() as simulator:
        url = line.gateway(simulator.url).url
        done = run(["sh", "-ec", block.replace(LISTENS_AT, url)], url)
    assert "Hello from the" in done


def run(command: list[str], url: str) -> str:
    """The output of a program that has the variables which the pages tell to set, and little more."""
    tool = shutil.which(command[0]) or command[0]
    environment = {
        "PATH": os.defpath,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "any-key",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        [tool, *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, textwrap.indent(done.stderr, "  ")
    return done.stdout
