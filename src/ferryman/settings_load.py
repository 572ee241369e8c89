"""Where the values of the settings come from.

A value comes from the command line, else the environment, else the file, else the default. An empty
variable is an unset one, and so is an empty line of the file. Only this module reads the environment.
"""

from __future__ import annotations

import difflib
import math
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from ferryman.errors import SettingsError
from ferryman.hosts import is_loopback, is_name, trusted_proxies
from ferryman.settings import Settings
from ferryman.settings_block import block, blocks, trees
from ferryman.settings_bodies import body_problems
from ferryman.settings_images import image_problems
from ferryman.settings_limits import limit_problems
from ferryman.settings_models import alias_problems
from ferryman.settings_prices import price_problems
from ferryman.settings_store import database_problem, default_data_dir
from ferryman.settings_table import env_names, rows, type_of, wanted
from ferryman.settings_targets import target_problems, with_targets
from ferryman.settings_telemetry import telemetry_problems
from ferryman.settings_upstream import (
    is_own_listener,
    proxy_problem,
    proxy_variable,
    tls_problems,
    url_problem,
)
from ferryman.wording import shown

FILE_NAMES = ("ferryman.yaml", "config.yaml")
"""Looked for in the working directory, in this order."""

NOTHING = ("", "~", "null")
"""What stands in the file for no value."""


class Loaded(NamedTuple):
    """Settings, and where each of them comes from.

    Attributes:
        settings: the settings in force.
        sources: setting name → `default`, `environment (NAME)`, `command line`, or the file's path.
        file: the file that was read, `None` if there was none.
    """

    settings: Settings
    sources: dict[str, str]
    file: Path | None


def load(
    flags: Mapping[str, object],
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Read the settings from all sources.

    Args:
        flags: setting name → value from the command line; `None` is absent.
        environ: the environment, by default the process's.
        file: the file named on the command line.
        directory: where files are looked for, by default the working directory.

    Raises:
        SettingsError: with a sentence for each value that cannot be used.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251  # the one place it is read
    path = _find_file(file, environ, directory or Path.cwd())
    from_file = _read_file(path) if path is not None else {}
    problems = _unknown_keys(from_file, path)
    wrong: set[str] = set()
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in rows():
        raw, source = _pick(row, flags, environ, from_file, path)
        sources[row.name] = source
        if raw is MISSING:
            continue
        try:
            values[row.name] = _parse(row, raw)
        except (ValueError, OverflowError):
            wrong.add(row.name)
            what = "that value (it is a secret)" if _may_be_secret(row) else shown(raw)
            problems.append(f"{row.name}: {what} {_origin(source)} cannot be used; wanted {wanted(row)}.")
    settings = with_targets(Settings(**values), sources, environ)
    settings = _with_proxy(settings, sources, environ)
    settings = _with_runtime_directory(settings, sources, environ)
    settings = replace(settings, data_dir=settings.data_dir or default_data_dir(environ))
    problems += [problem for names, problem in _conflicts(settings, sources) if not names & wrong]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, sources, path)


def _may_be_secret(row: Field[Any]) -> bool:
    return row.metadata["secret"] or row.name == "upstreams"


def reread(settings: Settings, file: Path, names: Iterable[str]) -> Settings:
    """`settings` with what `file` says now of the settings `names`, which no other source decides.

    Raises:
        SettingsError: with a sentence for each value that cannot be used.
    """
    from_file, problems = _read_file(file), []
    values: dict[str, Any] = {}
    for row in rows():
        if row.name in names:
            raw, _ = _pick(row, {}, {}, from_file, file)
            try:
                values[row.name] = row.default if raw is MISSING else _parse(row, raw)
            except (ValueError, OverflowError):
                problems.append(f"{row.name}: {shown(raw)} from {file} cannot be used; wanted {wanted(row)}.")
    changed = replace(settings, **values)
    problems += [problem for about, problem in price_problems(changed) if about <= values.keys()]
    if problems:
        raise SettingsError(problems)
    return changed


def _with_proxy(settings: Settings, sources: dict[str, str], environ: Mapping[str, str]) -> Settings:
    """`settings` with the proxy of the environment in the place of `auto`, if there is one."""
    if settings.upstream_proxy != "auto" or url_problem(settings.upstream_url) is not None:
        return settings
    variable = proxy_variable(environ, settings)
    if variable is None:
        return settings
    sources["upstream_proxy"] = f"environment ({variable.name})"
    return replace(settings, upstream_proxy=variable.value)


def _with_runtime_directory(
    settings: Settings, sources: dict[str, str], environ: Mapping[str, str]
) -> Settings:
    """`settings` with the place for sockets that the session of this user has, if there is one."""
    session = environ.get("XDG_RUNTIME_DIR")
    if settings.runtime_directory is not None or not session:
        return settings
    sources["runtime_directory"] = "environment (XDG_RUNTIME_DIR)"
    return replace(settings, runtime_directory=str(Path(session) / "ferryman"))


def _find_file(file: Path | None, environ: Mapping[str, str], directory: Path) -> Path | None:
    if file is None and environ.get("CONFIG_PATH"):
        file = Path(environ["CONFIG_PATH"])
    if file is not None:
        return directory / file  # asked for, so that it is a mistake if it isn't there
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    candidates = [directory / name for name in FILE_NAMES]
    if environ.get("XDG_CONFIG_HOME") or environ.get("HOME"):
        candidates.append(directory / home / "ferryman" / "config.yaml")
    return next((path for path in candidates if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a home directory that is not ours to look into
        return False


def _read_file(path: Path) -> dict[str, object]:
    """The settings in the file at `path`, every value as the text that stands there."""
    where = f"config file: {shown(path)}"
    try:
        loader = yaml.BaseLoader(path.read_text("utf-8"))  # text only: no `010` that becomes 8
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else {}
    except FileNotFoundError as error:
        hint = "" if path.suffix else " `ferryman --help` lists the commands."
        raise SettingsError([f"{where} does not exist.{hint}"]) from error
    except OSError as error:
        raise SettingsError([f"{where} cannot be read: {error.strerror}."]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{where} is not UTF-8 text."]) from error
    except (yaml.YAMLError, RecursionError) as error:
        # What PyYAML says of it may quote the line, and with it a secret.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}," if mark is not None else ""
        raise SettingsError([f"{where}{line} is not valid YAML."]) from error
    if content in ({}, *NOTHING):
        return {}
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise SettingsError([f"{where} must hold `name: value` lines."])
    names = [key.value for key, _ in node.value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError([f"{where} has {shown(name)} more than once." for name in twice])
    return content


def _unknown_keys(from_file: Mapping[str, object], path: Path | None) -> list[str]:
    known = [row.name for row in rows()]
    problems = []
    for key in from_file:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = (
                f"; did you mean `{close[0]}`?" if close else "; `ferryman config show` lists all settings."
            )
            problems.append(f"{shown(key)[1:-1]}, from {path}: no such setting{hint}")
    return problems


def _pick(
    row: Field[Any],
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    from_file: Mapping[str, object],
    path: Path | None,
) -> tuple[object, str]:
    if flags.get(row.name) is not None:
        return flags[row.name], "command line"
    for name in env_names(row):
        if (value := environ.get(name, "").strip()) != "":
            return value, f"environment ({name})"
    if from_file.get(row.name, "") not in NOTHING:
        return from_file[row.name], str(path)
    return MISSING, "default"


def _parse(row: Field[Any], raw: object) -> object:
    """`raw` as the row's type; ValueError if it isn't one."""
    kind = type_of(row)
    if row.metadata["many"] and isinstance(raw, list) and all(isinstance(part, str) for part in raw):
        raw = ",".join(raw)
    if typing.get_origin(kind) is Literal:
        if raw not in typing.get_args(kind):
            raise ValueError
        return raw
    value = _PARSERS[kind](raw)
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError
    return value


def _parse_bool(raw: object) -> bool:
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    text = str(raw).strip().lower()
    if text not in words:
        raise ValueError
    return words[text]


def _parse_int(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError
    return int(raw)


def _parse_float(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError
    return value


def _parse_text(raw: object) -> str:
    text = str(raw).strip()
    if isinstance(raw, dict | list) or not text or not text.isascii() or not text.isprintable():
        raise ValueError
    return text


_PARSERS: dict[object, Callable[[object], Any]] = {
    Mapping[str, str]: block,
    Mapping[str, Mapping[str, str]]: blocks,
    Mapping[str, Mapping[str, object]]: trees,
    bool: _parse_bool,
    int: _parse_int,
    float: _parse_float,
    str: _parse_text,
}


def _origin(source: str) -> str:
    return f"from {source}" if source.startswith("/") else f"from the {source}"


def _conflicts(settings: Settings, sources: Mapping[str, str]) -> Iterator[tuple[set[str], str]]:
    """What is wrong with values that are fine one by one: a sentence each, and the settings it is about."""
    host = shown(settings.host)
    start = {name: f"{name}, {_origin(source)}" for name, source in sources.items()}
    if not is_name(settings.host):
        yield {"host"}, f"{start['host']}: {host} is not a name or address."
    if (problem := url_problem(settings.upstream_url)) is not None:
        yield {"upstream_url"}, f"{start['upstream_url']}: {problem}"
    elif is_own_listener(settings):
        circle = (
            f"{shown(settings.upstream_url)} is where Ferryman itself listens; requests would go in circles"
        )
        yield {"upstream_url", "host", "port"}, f"{start['upstream_url']}: {circle}."
    if (problem := proxy_problem(settings.upstream_proxy)) is not None:
        yield {"upstream_proxy"}, f"{start['upstream_proxy']}: {problem}"
    if (problem := database_problem(settings)) is not None:
        yield {"database_url", "data_dir"}, f"{start['database_url']}: {problem}"
    for names, problem in tls_problems(settings):
        yield names, f"{start[max(names)]}: {problem}."
    for name, port in (("admin_port", settings.admin_port), ("metrics_port", settings.metrics_port)):
        if port is not None and port == settings.port and not settings.unix_socket:
            problem = "that is `port` already; name another, or leave it out"
            yield {name, "port"}, f"{start[name]}: {problem}."
    yield from _auth_conflicts(settings, start)
    yield from _entrance_conflicts(settings, start)
    for problems in (
        price_problems, limit_problems, target_problems, alias_problems,
        body_problems, image_problems, telemetry_problems,
    ):  # fmt: skip
        yield from ((names, f"{start[max(names)]}: {problem}") for names, problem in problems(settings))


def _auth_conflicts(settings: Settings, start: Mapping[str, str]) -> Iterator[tuple[set[str], str]]:
    """The same, of who may call."""
    if settings.auth == "keys" and settings.master_key is None:
        need = "`keys` needs `master_key` (FERRYMAN_MASTER_KEY), with which keys are made"
        yield {"auth", "master_key"}, f"{start['auth']}: {need}."
    if settings.auth == "open" and not settings.anthropic_api_key:
        need = "`open` needs `anthropic_api_key` (ANTHROPIC_API_KEY), the key that is spent"
        yield {"auth", "anthropic_api_key"}, f"{start['auth']}: {need}."
    local = settings.unix_socket is not None or is_loopback(settings.host)
    if settings.effective_auth in {"open", "identity"} and not local and not settings.allow_open:
        deed = "spend the server's key" if settings.effective_auth == "open" else "call under any user's name"
        danger = f"with {shown(settings.host)} anybody on the network could {deed}"
        way_out = "listen on 127.0.0.1, or set `allow_open: true` if that is what you want"
        names = {"host", "unix_socket", "auth", "anthropic_api_key", "allow_open"}
        yield names, f"{start['host']}: {danger}; {way_out}."


def _entrance_conflicts(settings: Settings, start: Mapping[str, str]) -> Iterator[tuple[set[str], str]]:
    """The same, of where clients come in."""
    mode = settings.unix_socket_mode
    if len(mode) > 4 or set(mode) - set("01234567") or int(mode, 8) > 0o777:
        problem = f"{shown(mode)} is no mode; wanted octal digits such as `660`"
        yield {"unix_socket_mode"}, f"{start['unix_socket_mode']}: {problem}."
    if settings.tls_key_file is not None and settings.tls_cert_file is None:
        problem = "a key is of no use without its certificate; set `tls_cert_file` too"
        yield {"tls_key_file", "tls_cert_file"}, f"{start['tls_key_file']}: {problem}."
    if settings.public_url is not None:
        told = url_problem(
            settings.public_url, "clients have keys of their own", "https://claude.example.org"
        )
        if told is not None:
            yield {"public_url"}, f"{start['public_url']}: {told}"
    try:
        trusted_proxies(settings.trusted_proxies or "")
    except ValueError as error:
        kinds = "no address, no network such as `10.0.0.0/8`, and not `unix`"
        yield {"trusted_proxies"}, f"{start['trusted_proxies']}: {shown(error)} is {kinds}."
