"""Templates and what they can call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ferryman.console import words
from ferryman.console.assets import FOLDER, Assets

if TYPE_CHECKING:
    from markupsafe import Markup

NANO = 10**9


class Renderer:
    """Makes pages. Jinja is loaded with the first: many a Ferryman never shows one, and it takes 5 MB."""

    def __init__(self, assets: Assets) -> None:
        """Read the templates.

        Raises:
            OSError: the package is damaged.
        """
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  # see above
        from markupsafe import Markup, escape  # noqa: PLC0415  # comes with Jinja

        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )

        def with_title(shown: str, title: str) -> Markup:
            return Markup('<span title="{}">{}</span>').format(escape(title), escape(shown))

        def money(nanousd: int | None) -> str | Markup:
            if nanousd is None:
                return "–"
            shown, exact = words.short_dollars(nanousd), words.exact_dollars(nanousd)
            return shown if shown == exact else with_title(shown, exact)

        def count(number: int | None) -> str | Markup:
            if number is None:
                return "–"
            shown, exact = words.short_count(number), f"{number:,}"
            return shown if shown == exact else with_title(shown, exact)

        self._environment.filters |= {
            "money": money,
            "exact_money": lambda nanousd: "–" if nanousd is None else words.exact_dollars(nanousd),
            "count": count,
            "whole": lambda number: "–" if number is None else f"{number:,}",
            "seconds": words.seconds_text,
            "bytes": words.bytes_text,
            "moment": moment_of,
            "nanousd": nanousd_of,
        }
        self._environment.globals |= {"asset": assets.url, "percent": words.percent}

    def __repr__(self) -> str:
        return f"<Renderer {len(self._environment.cache or ())} of {len(self.templates)} templates ready>"

    @property
    def templates(self) -> list[str]:
        """The names of all there are."""
        return self._environment.list_templates()

    def compile(self, template: str) -> None:
        """Have `template` ready, which takes some 20 ms the first time."""
        self._environment.get_template(template)

    def page(self, template: str, now: float, values: dict[str, Any]) -> str:
        """`template` with `values`, as it is at `now` (Unix time)."""
        at = datetime.fromtimestamp(now, UTC)

        def ago(moment: str | datetime | None) -> str:
            found = moment_of(moment)
            return "never" if found is None else words.distance_text(found, at)

        return self._environment.get_template(template).render(values, ago=ago, now=at)


def moment_of(value: str | float | datetime | None) -> datetime | None:
    """A point in time of the API's JSON, in UTC: ISO text or Unix time."""
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value, UTC)


def nanousd_of(dollars: float | None) -> int | None:
    """Dollars of the API's JSON in nano-dollars: exact up to four million."""
    return None if dollars is None else round(dollars * NANO)
