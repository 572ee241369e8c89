"""The files that pages need, read once and served from memory under names that change with their content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class Asset(NamedTuple):
    """A file as it is served."""

    body: bytes
    media_type: str


class Assets:
    """All of them: about 170 KB."""

    def __init__(self) -> None:
        """Read them.

        Raises:
            OSError: the package is damaged.
        """
        self._urls: dict[str, str] = {}
        self._served: dict[str, Asset] = {}
        for folder in ("vendor", "static"):
            for path in sorted((FOLDER / folder).iterdir()):
                if (media_type := _TYPES.get(path.suffix)) is not None:
                    self._add(path, media_type, is_own=folder == "static")

    def __repr__(self) -> str:
        return f"<Assets {len(self._served)} files>"

    def url(self, name: str) -> str:
        """Where the file `name` is served.

        Raises:
            KeyError: there is none.
        """
        return self._urls[name]

    def find(self, served: str) -> Asset | None:
        """The file that is served under this name, `None` if none is."""
        return self._served.get(served)

    def _add(self, path: Path, media_type: str, *, is_own: bool) -> None:
        body = path.read_bytes()
        served = path.name
        if is_own:
            if path.suffix == ".css":
                for name, url in self._urls.items():
                    body = body.replace(f'url("{name}")'.encode(), f'url("{url}")'.encode())
            served = f"{path.stem}-{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
        self._urls[path.name] = f"/ui/static/{served}"
        self._served[served] = Asset(body, media_type)
