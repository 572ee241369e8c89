"""Whom an exchange is charged to: its end user, its tags, its session. Headers and body say it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.http1.message import Fields
from ferryman.model import ABSENT, Call
from ferryman.relay.shapes import ClaudeCodeUser, OurMetadata
from ferryman.relay.values import Attribution
from ferryman.wire.names import (
    AGENT,
    AGENT_TYPE,
    CHARGES,
    END_USERS,
    HINTS,
    PARENT_AGENT,
    REQUEST_CLASS,
    SESSION,
    SPEND_LOGS_METADATA,
    TAGS,
    TRACEPARENT,
)
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import without_keys

WATCHED = HINTS | CHARGES | {TRACEPARENT}

MAX_TEXT: Final = 200
"""Characters of a tag, an end user or an id: more than any real one has, and short enough for an index."""

MAX_TAGS = 50
"""Of one exchange: each becomes a row in reports."""

TRACEPARENT_LENGTH = 55

MAX_NOTES_BYTES = 8_192
"""Of `spend_logs_metadata` as it came: it is kept with every record."""

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""Of version 00; later ones may have more behind it (https://www.w3.org/TR/trace-context/#versioning-of-traceparent)."""

_NOBODY = Attribution()
_NOTHING = frozenset({b"", b"null"})


_decode_ours = msgspec.json.Decoder(OurMetadata).decode
_decode_claude_code = msgspec.json.Decoder(ClaudeCodeUser).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_texts = msgspec.json.Decoder(list[str] | None).decode
_decode_any = msgspec.json.Decoder(dict[str, object]).decode
_decode_notes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def attribute(fields: Fields, call: Call) -> Attribution:
    """Whom and what an exchange is charged to.

    Where a header and the body both name an end user or notes, the header's count: it is often set by
    whoever runs the client, and the body by the client itself. Tags of both are taken together.
    `metadata.user_id` is Anthropic's own field and comes last.

    Args:
        fields: the headers of the request.
        call: what its body says, an empty one where nobody looks into the body.

    Raises:
        InvalidRequest: what is meant for us is malformed, ambiguous or too long.
    """
    said = fields.second_memo
    if not isinstance(said, Attribution):
        said = fields.second_memo = _of_headers(fields)
    if call.metadata is None and call.litellm_metadata is ABSENT:
        return said
    ours = _ours(call.litellm_metadata)
    user = _user(ours.user)
    tags = _tags_of_body(ours.tags, dict.fromkeys(said.tags or ()))
    notes = said.spend_logs_metadata
    if notes is None and (value := bytes(ours.spend_logs_metadata)) not in _NOTHING:
        notes = _object(value, "`litellm_metadata.spend_logs_metadata`")
    named, session_id = _of_user_id(call.metadata.user_id if call.metadata is not None else None)
    return Attribution(
        session_id=said.session_id or session_id,
        end_user=said.end_user or user or named,
        tags=tags or None,
        spend_logs_metadata=notes,
        agent_id=said.agent_id,
        parent_agent_id=said.parent_agent_id,
        request_class=said.request_class,
        agent_type=said.agent_type,
    )


def with_tags(charged: Attribution, tags: list[str]) -> Attribution:
    """`charged` with the `tags` of a key before its own."""
    return _with_charges(
        charged,
        charged.end_user,
        list(dict.fromkeys([*tags, *(charged.tags or ())])),
        charged.spend_logs_metadata,
    )


def hints(fields: Fields) -> Attribution:
    """What Claude Code's headers alone tell, for a request that was refused before it was read."""
    if HINTS.isdisjoint(fields.found):
        return _NOBODY
    return Attribution(
        session_id=_short(fields, SESSION),
        agent_id=_short(fields, AGENT),
        parent_agent_id=_short(fields, PARENT_AGENT),
        request_class=_short(fields, REQUEST_CLASS),
        agent_type=_short(fields, AGENT_TYPE),
    )


def traceparent_of(fields: Fields) -> str | None:
    """Which trace the client's request is part of, `None` if it does not say so as it should."""
    value = fields.found.get(TRACEPARENT)
    if value is None or TRACEPARENT in fields.repeated or not _TRACEPARENT.match(value):
        return None
    return value[:TRACEPARENT_LENGTH].decode("latin-1")


def _of_headers(fields: Fields) -> Attribution:
    if CHARGES.isdisjoint(fields.found):
        return hints(fields)
    tags = _tags_of_headers(fields) or None
    return _with_charges(hints(fields), _end_user(fields), tags, _notes_of_headers(fields))


def _with_charges(
    said: Attribution, end_user: str | None, tags: list[str] | None, notes: dict[str, msgspec.Raw] | None
) -> Attribution:
    return Attribution(
        session_id=said.session_id,
        end_user=end_user,
        tags=tags,
        spend_logs_metadata=notes,
        agent_id=said.agent_id,
        parent_agent_id=said.parent_agent_id,
        request_class=said.request_class,
        agent_type=said.agent_type,
    )


def _of_user_id(user_id: str | None) -> tuple[str | None, str | None]:
    """End user and session of `metadata.user_id`.

    Claude Code's names a session in it: taken whole, each session would be an end user of its own. Its
    account is empty where it has only a key. What is too long is cut, not refused: the field is Anthropic's.
    """
    if user_id is not None and user_id.startswith("{"):
        try:
            found = _decode_claude_code(user_id)
        except UNREADABLE:
            pass
        else:
            user = found.account_uuid or found.device_id
            if user or found.session_id:
                return _cut(user), _cut(found.session_id)
    return _cut(user_id), None


def _ours(litellm_metadata: msgspec.Raw) -> OurMetadata:
    if bytes(litellm_metadata) in _NOTHING:
        return OurMetadata()
    try:
        return _decode_ours(litellm_metadata)
    except UNREADABLE:
        raise InvalidRequest("`litellm_metadata` has to be a JSON object.") from None


def _end_user(fields: Fields) -> str | None:
    for name in END_USERS:
        if value := _only(fields, name):
            return _checked(value, f"The header `{name.decode()}`")
    return None


def _user(raw: msgspec.Raw) -> str | None:
    if not (value := bytes(raw)):
        return None
    try:
        user = _decode_text(value)
    except UNREADABLE:
        raise InvalidRequest("`litellm_metadata.user` has to be a text.") from None
    return _checked(user, "`litellm_metadata.user`") if user else None


def _tags_of_headers(fields: Fields) -> list[str]:
    found: dict[str, None] = {}
    for name in TAGS:
        for line in fields.values(name):
            members = (member.strip() for member in _text(line).split(","))
            _add_tags(found, members, f"A tag in the header `{name.decode()}`")
    return list(found)


def _tags_of_body(raw: msgspec.Raw, found: dict[str, None]) -> list[str]:
    """Those that were `found` in headers, and behind them those of the body."""
    if value := bytes(raw):
        try:
            tags = _decode_texts(value)
        except UNREADABLE:
            raise InvalidRequest("`litellm_metadata.tags` has to be a list of texts.") from None
        _add_tags(found, tags or (), "A tag in `litellm_metadata.tags`")
    return list(found)


def _add_tags(found: dict[str, None], tags: Iterable[str], what: str) -> None:
    for tag in filter(None, tags):
        found[_checked(tag, what)] = None
        if len(found) > MAX_TAGS:
            raise InvalidRequest(f"The request has more than {MAX_TAGS} tags; leave some out.")


def _notes_of_headers(fields: Fields) -> dict[str, msgspec.Raw] | None:
    for name in SPEND_LOGS_METADATA:
        if value := _only(fields, name):
            return _object(value.encode(), f"The header `{name.decode()}`")
    return None


def _object(value: bytes, what: str) -> dict[str, msgspec.Raw]:
    """The members of the JSON object `value`, all of it looked at once, since every log will hold it."""
    if len(value) > MAX_NOTES_BYTES:
        raise InvalidRequest(f"{what} is longer than {MAX_NOTES_BYTES} bytes; shorten it.")
    try:
        _decode_any(value)
        return _decode_notes(without_keys(msgspec.json.format(value, indent=-1).decode()))
    except UNREADABLE:
        raise InvalidRequest(f"{what} has to be a JSON object.") from None


def _only(fields: Fields, name: bytes) -> str | None:
    """The text of a header that may stand once, `None` if it is missing or empty."""
    if name in fields.repeated:
        raise InvalidRequest(f"The header `{name.decode()}` may stand only once.")
    value = fields.found.get(name)
    return _text(value) if value else None


def _text(value: bytes) -> str:
    """A header as text: UTF-8, so that it is the same end user as in a body, or one character a byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _checked(text: str, what: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvalidRequest(f"{what} is longer than {MAX_TEXT} characters; shorten it.")
    if "\0" in text:  # no database takes it in a text
        raise InvalidRequest(f"{what} has the character U+0000 in it; leave it out.")
    return without_keys(text)


def _cut(text: str | None) -> str | None:
    return without_keys(text)[:MAX_TEXT].replace("\0", "") or None if text else None


def _short(fields: Fields, name: bytes) -> str | None:
    value = fields.found.get(name)
    return None if value is None else without_keys(value.decode("latin-1"))[:MAX_TEXT]
