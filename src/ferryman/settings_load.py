"""Where the values of the settings come from.

A value comes from the command line, else the environment, else the file, else the default. An empty
variable is an unset one. Only this module reads the environment.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import yaml

from ferryman.errors import SettingsError
from ferryman.settings import Settings, env_names, rows, type_of, wanted

FILE_NAMES = ("ferryman.yaml", "config.yaml")
"""Looked for in the working directory, in this order."""


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
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in rows():
        raw, source = _pick(row, flags, environ, from_file, path)
        sources[row.name] = source
        if raw is MISSING:
            continue
        try:
            values[row.name] = _parse(row, raw)
        except ValueError:
            shown = "that value (it is a secret)" if row.metadata["secret"] else f"`{raw}`"
            problems.append(f"{row.name}: {shown} from {source} cannot be used; wanted {wanted(row)}.")
    if not problems:
        problems = _conflicts(Settings(**values))
    if problems:
        raise SettingsError(problems)
    return Loaded(Settings(**values), sources, path)


def _find_file(file: Path | None, environ: Mapping[str, str], directory: Path) -> Path | None:
    if file is None and environ.get("CONFIG_PATH"):
        file = Path(environ["CONFIG_PATH"])
    if file is not None:
        if not file.is_file():
            raise SettingsError([f"config file: `{file}` does not exist or is not a file."])
        return file
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    candidates = [directory / name for name in FILE_NAMES]
    if environ.get("XDG_CONFIG_HOME") or environ.get("HOME"):
        candidates.append(Path(home) / "ferryman" / "config.yaml")
    return next((path for path in candidates if path.is_file()), None)


def _read_file(path: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"config file: `{path}` cannot be read: {error}."]) from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise SettingsError([f"config file: `{path}`{line} is not valid YAML."]) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([f"config file: `{path}` must hold `name: value` lines."])
    return {str(key): value for key, value in content.items()}


def _unknown_keys(from_file: Mapping[str, object], path: Path | None) -> list[str]:
    known = [row.name for row in rows()]
    problems = []
    for key in from_file:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = (
                f"; did you mean `{close[0]}`?" if close else "; `ferryman config show` lists all settings."
            )
            problems.append(f"{key}: no such setting (in {path}){hint}")
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
        if environ.get(name):
            return environ[name], f"environment ({name})"
    if from_file.get(row.name) is not None:
        return from_file[row.name], str(path)
    return MISSING, "default"


def _parse(row: Field[Any], raw: object) -> object:
    """`raw` as the row's type; ValueError if it isn't one."""
    kind = type_of(row)
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
    if isinstance(raw, dict | list) or not str(raw).strip():
        raise ValueError
    return str(raw).strip()


_PARSERS: dict[type, Callable[[object], Any]] = {
    bool: _parse_bool,
    int: _parse_int,
    float: _parse_float,
    str: _parse_text,
}


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _conflicts(settings: Settings) -> list[str]:
    """What is wrong with values that are fine one by one."""
    problems = _upstream_problems(settings)
    if settings.master_key:
        problems.append(
            "master_key: virtual keys are not built yet; unset it (or LITELLM_MASTER_KEY) to go on."
        )
    if settings.auth == "open" and not settings.anthropic_api_key:
        problems.append("auth: `open` needs `anthropic_api_key` (ANTHROPIC_API_KEY), the key that is spent.")
    if settings.effective_auth == "open" and not is_loopback(settings.host) and not settings.allow_open:
        problems.append(
            f"host: with `{settings.host}` anybody on the network could spend the server's key; listen on "
            "127.0.0.1, or set `allow_open: true` if that is what you want."
        )
    key = settings.anthropic_api_key
    if key and not (key.isascii() and key.isprintable()):
        problems.append("anthropic_api_key: that value (it is a secret) has characters no key can have.")
    return problems


def _upstream_problems(settings: Settings) -> list[str]:
    url = settings.upstream_url
    if "@" in url:
        return ["upstream_url: it holds a user name or password; put the key in `anthropic_api_key`."]
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return [f"upstream_url: `{url}` is not a URL."]
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not url.isascii()
        or not url.isprintable()
    ):
        return [f"upstream_url: `{url}` cannot be used; wanted a URL such as `https://api.anthropic.com`."]
    if parts.query or parts.fragment:
        return [f"upstream_url: `{url}` has a query or fragment; wanted scheme, host, port and path."]
    here = is_loopback(parts.hostname) or parts.hostname in {settings.host, "0.0.0.0", "::"}  # noqa: S104
    if here and port == settings.port:
        return [f"upstream_url: `{url}` is where Ferryman itself listens; requests would go in circles."]
    return []
