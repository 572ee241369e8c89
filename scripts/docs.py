"""Write the parts of the documentation that follow from the code: `python scripts/docs.py [--check]`.

Such a part stands between `<!-- begin NAME: … -->` and `<!-- end NAME -->` in a page that is otherwise
written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import click
import yaml
from click.testing import CliRunner

from ferryman.cli.main import main as ferryman
from ferryman.control.access.asked import AskedCustomer, AskedTag, GenerateKey, NewBudget, NewTeam, NewUser
from ferryman.control.access.desk import operations
from ferryman.control.access.reading import NOT_SERVED, fields_of
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.explain import decimal
from ferryman.pricing.shapes import CLASSES
from ferryman.settings_table import env_names, plain, rows, type_of, wanted
from ferryman.simulator.control import KEYS
from ferryman.telemetry.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HELP_COLUMNS = 96


def settings_table() -> str:
    """Every setting in the order of the table in `ferryman.settings`."""
    lines = []
    for row in rows():
        flags = [f"--{row.name.replace('_', '-')}", *row.metadata["flags"]]
        if type_of(row) is bool:
            flags.append(f"--no-{row.name.replace('_', '-')}")
        shown = [] if row.metadata["secret"] else flags
        default = "" if row.default is None else f"`{plain(row.default)}`"
        names = [code(env_names(row)), code(shown)]
        lines.append((f"`{row.name}`", wanted(row), default, *names, row.metadata["help"]))
    return table(("setting", "value", "default", "environment", "flag", "meaning"), lines)


def keys_table() -> str:
    """Every key of `x-simulator`."""
    return table(("key", "meaning"), [(f"`{name}`", key.meaning) for name, key in KEYS.items()])


def prices_table() -> str:
    """Every price, newest first within a model."""
    lines = []
    for model in load_catalog().models:
        for price in reversed(model.prices):
            for tier in price.tiers:
                above = f"{tier.above_tokens:,}" if tier.above_tokens else ""
                rates = [decimal(rate, 10**6, 2) for rate in tier.rates()]
                multipliers = [decimal(*price.fast), decimal(*price.us)]
                since = str(price.effective_from or "")
                lines.append((f"`{model.id}`", since, above, *rates, *multipliers))
    return table(("model", "from", "prompt above", *(f"`{name}`" for name in CLASSES), "fast", "us"), lines)


def differences_table(to: str) -> str:
    """Where we do not agree with a judge: the member `to` of `scripts/prices.yaml`."""
    text = (ROOT / "scripts" / "prices.yaml").read_text("utf-8")
    rows = yaml.load(text, yaml.BaseLoader)[to].values()
    return table(
        ("models", "where", "why"),
        [(row["models"], row["where"], row["reason"]) for row in rows],
    )


def commands_help() -> str:
    """Every command with what its `--help` prints."""
    return "\n".join(help_of(path) for path in command_paths(ferryman, ()))


def command_paths(command: click.Command, path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """The words of `command` and of all below it."""
    yield path
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from command_paths(child, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    """A section with the help of one command."""
    runner = CliRunner()
    done = runner.invoke(
        ferryman,
        [*path, "--help"],
        prog_name="ferryman",
        terminal_width=HELP_COLUMNS,
        max_content_width=HELP_COLUMNS,
    )
    if done.exit_code:
        raise SystemExit(f"`ferryman {' '.join(path)} --help` ended with {done.exit_code}: {done.output}")
    return f"## `{' '.join(('ferryman', *path))}`\n\n```text\n{done.output.rstrip()}\n```\n"


def file_shown(name: str, language: str) -> str:
    """A file of `deploy/` as a block of code."""
    return f"```{language}\n{(ROOT / 'deploy' / name).read_text('utf-8')}```\n"


def table(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    every = [header, ("---",) * len(header), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in every)


def code(words: Iterable[str]) -> str:
    """Each word as code."""
    return " ".join(f"`{word}`" for word in words)


def operations_table() -> str:
    """Every path of keys and whom they belong to."""
    lines = []
    for one in operations():
        names = fields_of(one.asks)
        takes = code(names) if one.method == "GET" or len(names) <= 8 else "[fields](#fields)"
        lines.append((f"`{one.method} {one.path}`", takes, one.summary))
    return table(("path", "takes", "what it does"), lines)


def fields_table() -> str:
    """Every field of keys, users, teams, customers, budgets and tags, and who has it."""
    kinds = {"key": GenerateKey, "user": NewUser, "team": NewTeam, "customer": AskedCustomer}
    kinds |= {"budget": NewBudget, "tag": AskedTag}
    every = {name: field for shape in kinds.values() for name, field in fields_of(shape).items()}
    lines = []
    for name, field in every.items():
        having = [kind for kind, shape in kinds.items() if name in fields_of(shape)]
        lines.append((f"`{name}`", field.wanted, "all" if len(having) == len(kinds) else ", ".join(having)))
    return table(("field", "value", "of"), lines)


def metrics_table() -> str:
    """Every metric."""
    lines = [(f"`{one.name}`", one.kind, code(one.labels), one.help) for one in METRICS]
    return table(("metric", "kind", "labels", "meaning"), lines)


def refused_list() -> str:
    """LiteLLM's fields that are refused."""
    return ", ".join(f"`{name}`" for name in sorted(NOT_SERVED)) + ".\n"


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "metrics": ("metrics.md", metrics_table),
    "settings": ("reference/settings.md", settings_table),
    "commands": ("reference/cli.md", commands_help),
    "keys": ("simulator.md", keys_table),
    "prices": ("prices.md", prices_table),
    "differences": ("prices.md", partial(differences_table, "differences")),
    "claude-code": ("prices.md", partial(differences_table, "claude_code")),
    "operations": ("keys.md", operations_table),
    "fields": ("keys.md", fields_table),
    "refused": ("keys.md", refused_list),
    "nginx": ("fronts.md", lambda: file_shown("nginx.conf", "nginx")),
    "caddy": ("fronts.md", lambda: file_shown("Caddyfile", "caddyfile")),
}
"""Name of a part → the page it stands in, and what makes it."""


def renewed(text: str, name: str, content: str) -> str:
    """`text` of a page with `content` between the marks of the part `name`."""
    pattern = rf"(<!-- begin {name}: [^\n]* -->\n)(.*?)(<!-- end {name} -->)"
    new, count = re.subn(pattern, lambda found: f"{found[1]}\n{content}\n{found[3]}", text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the marks of the part `{name}` are there {count} times; once is right")
    return new


def main(arguments: list[str]) -> int:
    """Write every part; with `--check`, only say which are out of date."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []
    for name, (page, make) in PARTS.items():
        path = DOCS / page
        text = path.read_text("utf-8")
        new = renewed(text, name, make())
        if new != text:
            stale.append(f"docs/{page}: the part `{name}`")
            if not arguments:
                path.write_text(new, "utf-8")
    for what in stale:
        print(f"{what} {'is out of date; run python scripts/docs.py' if arguments else 'is written anew'}")
    return bool(stale and arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
