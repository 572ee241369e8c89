"""Bodies of requests to the control plane: JSON of a shape that is known, under a cap."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from ferryman.errors import BodyTooLarge, InvalidRequest

T = TypeVar("T")


async def body_of(request: Request, shape: type[T], most_bytes: int) -> T:
    """The body as a `shape`.

    Raises:
        BodyTooLarge: it has more than `most_bytes`.
        InvalidRequest: it is no JSON of this shape.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most_bytes:
            raise BodyTooLarge(f"the body is larger than {most_bytes} bytes, the most for this path.")
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:  # it names the field, never a value
        raise InvalidRequest(f"the body cannot be used: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("the body is no JSON object.") from error
