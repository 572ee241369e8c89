"""Files: what an upload may hold, and the store that keeps them in memory. Pure but for the store.

Sources: anthropic 2.12.0, types/file_metadata.py, file_upload_params.py and file_list_params.py.
"""

import mimetypes
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from ferryman.simulator.clock import rfc3339
from ferryman.simulator.errors import ApiError, invalid
from ferryman.simulator.headers import too_large
from ferryman.simulator.multipart import Part
from ferryman.simulator.paging import page_of

MIN_LIFE_SECONDS, MAX_LIFE_SECONDS = 3_600, 7_776_000  # file_upload_params.py
MAX_IDS = 100  # file_list_params.py
_NO_FILENAME = re.compile(r'[<>:"|?*\\/\x00-\x1f]|.{256,}')  # platform documentation, files


@dataclass(frozen=True, slots=True)
class File:
    """One file; one that does not expire has no `expires_at`."""

    id: str
    created_at: datetime
    filename: str
    mime_type: str
    data: bytes
    is_downloadable: bool
    expires_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Its metadata."""
        return {
            "id": self.id,
            "type": "file",
            "filename": self.filename,
            "mime_type": self.mime_type,
            "size_bytes": len(self.data),
            "created_at": rfc3339(self.created_at),
            "downloadable": self.is_downloadable,
            "expires_at": rfc3339(self.expires_at),
        }


def read_upload(
    form: Mapping[str, Part], file_id: str, now: datetime, max_bytes: int, *, is_downloadable: bool
) -> File:
    """Make a file of a form that was uploaded.

    Raises:
        ApiError: 400 or 413.
    """
    for name in form:
        if name not in {"file", "expires_in_seconds"}:
            raise invalid(f"{name}: Extra inputs are not permitted")
    if "file" not in form:
        raise invalid("file: Field required")
    part = form["file"]
    if len(part.data) > max_bytes:
        raise too_large()
    mime_type = (part.content_type or "application/octet-stream").partition(";")[0].strip()
    filename = (
        PurePosixPath(part.filename or "").name or f"unnamed{mimetypes.guess_extension(mime_type) or ''}"
    )
    if _NO_FILENAME.search(filename):
        raise invalid("file: The file name has a forbidden character or more than 255")
    return File(file_id, now, filename, mime_type, part.data, is_downloadable, _expiry(form, now))


def _expiry(form: Mapping[str, Part], now: datetime) -> datetime | None:
    if "expires_in_seconds" not in form:
        return None
    text = form["expires_in_seconds"].data.decode("latin-1")
    if not re.fullmatch(r"\d{1,9}", text) or not MIN_LIFE_SECONDS <= int(text) <= MAX_LIFE_SECONDS:
        bounds = f"from {MIN_LIFE_SECONDS} to {MAX_LIFE_SECONDS}"
        raise invalid(f"expires_in_seconds: Input should be an integer {bounds}")
    return now + timedelta(seconds=int(text))


class FileStore:
    """The files of one simulator, bounded in number and bytes."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._files: OrderedDict[str, File] = OrderedDict()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._kept_bytes = 0
        self.created = 0

    def __repr__(self) -> str:
        return f"FileStore({len(self._files)} of {self.created} files, {self._kept_bytes} bytes)"

    def add(self, file: File) -> None:
        """Keep a file.

        Raises:
            ApiError: 400, when there is no room. To forget an older one would surprise who has uploaded it.
        """
        if len(self._files) >= self._limit or self._kept_bytes + len(file.data) > self._limit_bytes:
            raise invalid("The storage of the simulator is full.", code="storage_quota_exceeded")
        self.created += 1
        self._kept_bytes += len(file.data)
        self._files[file.id] = file

    def get(self, file_id: str) -> File:
        """A file, be it expired or not.

        Raises:
            ApiError: 404.
        """
        file = self._files.get(file_id)
        if file is None:
            raise ApiError(404, f"File not found: {file_id}")
        return file

    def content(self, file_id: str, now: datetime) -> File:
        """A file that may be downloaded.

        Raises:
            ApiError: 404, also when it has expired, or 400.
        """
        file = self.get(file_id)
        if file.expires_at is not None and now >= file.expires_at:
            raise ApiError(404, f"File has expired: {file_id}", code="file_expired")
        if not file.is_downloadable:
            raise invalid(f"File is not downloadable: {file_id}", code="file_not_downloadable")
        return file

    def delete(self, file_id: str) -> None:
        """Forget a file.

        Raises:
            ApiError: 404.
        """
        self._kept_bytes -= len(self.get(file_id).data)
        del self._files[file_id]

    def page(self, query: Mapping[str, str], ids: list[str]) -> dict[str, Any]:
        """One page of the list, newest first, for clients of either generation.

        Newer ones go on by `page` and `next_page`, older ones by `after_id`, `has_more` and `last_id`.

        Args:
            query: Of the request.
            ids: The only files to show, if there are any.

        Raises:
            ApiError: 400.
        """
        if ids:
            return self._named(query, ids)
        cursor = query.get("page")
        if cursor is not None:
            if "after_id" in query or "before_id" in query:
                raise invalid("page: May not be given together with after_id or before_id")
            query = {**query, "after_id": cursor.removeprefix("page_")}
        found = page_of(list(reversed(self._files)), query, lambda one: self._files[one].as_json())
        more = found["has_more"] and "before_id" not in query
        return {**found, "next_page": f"page_{found['last_id']}" if more else None}

    def _named(self, query: Mapping[str, str], ids: list[str]) -> dict[str, Any]:
        wanted = dict.fromkeys(ids)
        if len(wanted) > MAX_IDS or "page" in query or "limit" in query:
            raise invalid(f"ids: At most {MAX_IDS}, and without page and limit")
        shown = [self._files[one].as_json() for one in wanted if one in self._files]
        return {"data": shown, "has_more": False, "next_page": None}
