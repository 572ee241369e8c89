"""Content parts of chat messages as Anthropic's content blocks.

Sources: openai 2.54.0, types/chat/chat_completion_content_part_*_param.py; anthropic 2.12.0,
types/image_block_param.py and document_block_param.py.
"""

from __future__ import annotations

import base64
import binascii

from ferryman.translate.terms import Block, refused
from ferryman.wording import shown

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What Claude can see (anthropic 2.12.0, types/base64_image_source_param.py)."""

_ASIDE = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""What a part may carry beside its content."""


def text_of(content: object, place: str) -> str | None:
    """The text of `content` if it is one, `None` where it is `null` or a list of parts."""
    if content is None or isinstance(content, list):
        return None
    if not isinstance(content, str):
        raise refused(place, "has to be a text or a list of parts.")
    return content


def blocks_of(content: object, place: str, kinds: frozenset[str]) -> list[Block]:
    """The blocks of a message's `content`; Anthropic takes no empty texts, so they are left out.

    Args:
        content: a text, a list of parts, or `None`.
        place: where it stands, for errors.
        kinds: of parts that may stand there.

    Raises:
        Refused: it cannot be translated.
    """
    if (text := text_of(content, place)) is not None:
        return [{"type": "text", "text": text}] if text else []
    found = []
    for index, part in enumerate(content if isinstance(content, list) else ()):
        block = _block(part, f"{place}[{index}]", kinds)
        if block.get("text") != "":
            found.append(block)
    return found


def _block(part: object, place: str, kinds: frozenset[str]) -> Block:
    if not isinstance(part, dict):
        raise refused(place, "has to be an object with a `type`.")
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise refused(
            f"{place}.type", f"is {shown(kind)}, which Claude does not take here; it can be {_listed(kinds)}."
        )
    value = part.get(kind)
    for name in part.keys() - _ASIDE - {"type", kind}:
        if part[name] is not None:
            raise refused(f"{place}.{name}", "has no counterpart; leave it out.")
    block = MAKERS[kind](value, f"{place}.{kind}")
    if (cache := _cache_control(part)) is not None:
        block["cache_control"] = cache
    return block


def _listed(kinds: frozenset[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in sorted(kinds))


def _cache_control(part: Block) -> object:
    """Anthropic's mark, or OpenAI's, which means the same: the prompt up to here is used again."""
    if part.get("cache_control") is not None:
        return part["cache_control"]
    return {"type": "ephemeral"} if part.get("prompt_cache_breakpoint") is not None else None


def _text(value: object, place: str) -> Block:
    if not isinstance(value, str):
        raise refused(place, "has to be a text.")
    return {"type": "text", "text": value}


def _image(value: object, place: str) -> Block:
    """An image; `detail` is dropped, since Claude has one resolution for all."""
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise refused(f"{place}.url", "has to be a URL.")
    if not url[:5].lower().startswith("data:"):
        if not url[:8].lower().startswith(("http://", "https://")):
            raise refused(f"{place}.url", "has to begin with `https://`, `http://` or `data:`.")
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, f"{place}.url")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in _IMAGE_TYPES:
        raise refused(f"{place}.url", f"is {shown(media_type)}; Claude takes {_listed(_IMAGE_TYPES)}.")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _file(value: object, place: str) -> Block:
    """A document: PDF or plain text in base64, or one of Anthropic's Files API by its id."""
    file = value if isinstance(value, dict) else {}
    data, file_id, name = file.get("file_data"), file.get("file_id"), file.get("filename")
    if isinstance(data, str):
        block: Block = {"type": "document", "source": _document(data, f"{place}.file_data")}
    elif isinstance(file_id, str):
        block = {"type": "document", "source": {"type": "file", "file_id": file_id}}
    else:
        raise refused(place, "has neither `file_data` nor `file_id`.")
    if isinstance(name, str) and name:
        block["title"] = name
    return block


def _document(data: str, place: str) -> Block:
    media_type, coded = _data_url(data, place) if data[:5].lower() == "data:" else ("application/pdf", data)
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": coded}
    if media_type != "text/plain":
        raise refused(place, f"is {shown(media_type)}; Claude takes `application/pdf` and `text/plain`.")
    try:
        text = base64.b64decode(coded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise refused(place, "is no base64 of a text in UTF-8.") from None
    return {"type": "text", "media_type": media_type, "data": text}


def _data_url(url: str, place: str) -> tuple[str, str]:
    """Media type in lower case, and base64, of a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.lower().split(";")
    if not comma or "base64" not in parameters:
        raise refused(place, "is a data URL without `;base64,`.")
    return media_type, data


MAKERS = {"text": _text, "refusal": _text, "image_url": _image, "file": _file}
"""What makes a block of a part, by its type."""
