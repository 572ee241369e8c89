"""Reads a `multipart/form-data` body (RFC 7578) that is whole and bounded. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from ferryman.simulator.errors import invalid

MAX_PARTS = 100  # a file and a few fields


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form.

    Attributes:
        filename: None when the part is no file.
        content_type: None when the part names none.
    """

    data: bytes
    filename: str | None
    content_type: str | None


def read_form(body: bytes, content_type: str) -> Mapping[str, Part]:
    """The parts of a form by their names; of two with the same name, the last.

    Raises:
        ApiError: 400, for another content type or a body that is no such form.
    """
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise invalid("content-type: should be multipart/form-data with a boundary")
    delimiter = b"\r\n--" + boundary.encode()
    first, *pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if not pieces or len(pieces) > MAX_PARTS or not pieces[-1].startswith(b"--") or first.strip():
        raise invalid("The request body is not a valid form, or does not end as its content-type says")
    return dict(_part(piece) for piece in pieces[:-1])


def _part(piece: bytes) -> tuple[str, Part]:
    head, separator, data = piece.partition(b"\r\n\r\n")
    # Browsers and SDKs send the names in UTF-8 as it is (RFC 7578, 5.1).
    headers = HeaderParser().parsestr(head.decode(errors="replace").lstrip(" \t").removeprefix("\r\n"))
    name = headers.get_param("name", header="content-disposition")
    if not separator or not isinstance(name, str):
        raise invalid("A part of the form has no name")
    return name, Part(data, headers.get_filename(), headers.get("content-type"))
