"""Reads what a request asks for into a struct, field by field, so that an error names field and value."""

from __future__ import annotations

import typing
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Meta, Raw
from starlette.datastructures import QueryParams
from starlette.requests import Request

from ferryman.errors import BodyTooLarge, InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY_BYTES = 1 << 20
"""Of one request: 500 keys that are changed at once have some hundred bytes each."""

MAX_SHOWN = 60
SECRET = frozenset({"key", "new_key", "keys"})
"""Fields whose value is never told in an error."""

NOTHING = frozenset({b"null", b'""', b"[]", b"{}", b"false"})

NOT_SERVED: dict[str, bytes] = dict.fromkeys(
    (
        *("admins", "agent_id", "allowed_cache_controls", "allowed_model_region"),
        *("allowed_passthrough_routes", "allowed_vector_store_indexes", "access_group_ids", "auto_rotate"),
        *("budget_fallbacks", "budget_reset_at", "config", "created_at", "default_model"),
        *("default_estimated_output_tokens", "default_estimated_output_tokens_per_model"),
        *("denied_passthrough_routes", "disable_global_guardrails", "enable_prompt_caching"),
        *("end_user_budget_id", "enforced_params", "expand", "guardrails", "include_created_by_keys"),
        *("include_team_keys", "invite_user", "max_budget_in_team", "members", "model_aliases"),
        *("model_config", "models", "object_permission", "organization_id", "organizations", "password"),
        *("permissions", "policies", "project_id", "prompts", "rotation_interval", "router_settings"),
        *("search", "secret_manager_settings", "send_invite_email", "sort_dir", "sso_user_id"),
        *("tag_rpm_limit", "tag_tpm_limit", "team", "team_member_budget", "team_member_budget_duration"),
        *("team_member_key_duration", "team_member_permissions", "team_member_rpm_limit"),
        *("team_member_tpm_limit", "temp_budget_expiry", "temp_budget_increase"),
        *("throttle_on_budget_exceeded", "tpd_limit", "vector_stores"),
    ),
    b"null",
) | {
    "key_type": b'"default"',
    "rpm_limit_type": b'"best_effort_throughput"',
    "spend": b"0",
    "tpm_limit_type": b'"best_effort_throughput"',
}
"""LiteLLM's fields that do nothing here → the value with which they mean nothing, beside `NOTHING`.

`models` of customers and tags is one of them: who may ask for what is a matter of keys, users and teams.
"""


class _Field(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    kind: Any
    wanted: str
    required: bool


async def members_of(request: Request) -> dict[str, Raw]:
    """The members of the request's JSON object; none of an empty body.

    Raises:
        BodyTooLarge: it has more than `MAX_BODY_BYTES`.
        InvalidRequest: it is no JSON object.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes, the most for this path.")
    if not data.strip():
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("the body is no JSON object.") from error


def from_body(shape: type[T], members: Mapping[str, Raw]) -> T:
    """The members of a JSON object as a `shape`.

    Raises:
        InvalidRequest: a field is not known, not served, missing, or has a value that cannot be used.
    """
    fields = fields_of(shape)
    values: dict[str, Any] = {}
    for name, raw in members.items():
        field = fields.get(name)
        text = bytes(raw)
        if field is None:
            _check_unknown(name, text, fields)
            continue
        try:
            values[name] = field.decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
            raise _unusable(name, text.decode("utf-8", "replace"), field.wanted) from error
    return _made(shape, fields, values)


def from_query(shape: type[T], parameters: QueryParams) -> T:
    """The parameters of a query as a `shape`; an empty one is none. Errors as of `from_body`."""
    fields = fields_of(shape)
    values: dict[str, Any] = {}
    for name in parameters:
        given = parameters.getlist(name)
        if len(given) > 1:
            raise InvalidRequest(f"`{shown(name)}` is there {len(given)} times; send it once.")
        field, text = fields.get(name), given[0]
        if field is None:
            _check_unknown(name, text.lower().encode() or b"null", fields)
            continue
        if not text:
            continue
        try:
            told = text.lower() if text.lower() in {"true", "false"} else text
            values[name] = msgspec.convert(told, field.kind, strict=False)
        except msgspec.ValidationError as error:
            raise _unusable(name, text, field.wanted) from error
    return _made(shape, fields, values)


@cache
def fields_of(shape: Hashable) -> Mapping[str, _Field]:
    """The fields of a struct, and what each wants."""
    return {
        field.name: _Field(
            msgspec.json.Decoder(_without_unset(field.type)),
            _without_unset(field.type),
            _wanted(field.type) or "another value",
            field.required,
        )
        for field in msgspec.structs.fields(cast("type[msgspec.Struct]", shape))
    }


def shown(text: str) -> str:
    """`text` of a client, for an error: short and printable."""
    short = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return short if short.isprintable() else short.encode("unicode_escape").decode()


def refused(name: str, value: str, wanted: str) -> InvalidRequest:
    """That `value` of the field `name` cannot be used."""
    return _unusable(name, value, wanted)


def _unusable(name: str, value: str, wanted: str) -> InvalidRequest:
    what = "this value" if name in SECRET else f"`{shown(value)}`"
    return InvalidRequest(f"`{name}`: {what} cannot be used; wanted {wanted}.")


def _check_unknown(name: str, text: bytes, fields: Mapping[str, _Field]) -> None:
    if name in NOT_SERVED:
        if text in NOTHING or text == NOT_SERVED[name] or text == NOT_SERVED[name].strip(b'"'):
            return
        if text == b"0.0" and NOT_SERVED[name] == b"0":
            return
        raise InvalidRequest(
            f"`{name}` is a field of LiteLLM that Ferryman does not serve, and it has a value; leave it out."
        )
    known = ", ".join(f"`{field}`" for field in fields) or "none"
    raise InvalidRequest(f"`{shown(name)}` is no field of this request; there are {known}.")


def _made(shape: type[T], fields: Mapping[str, _Field], values: dict[str, Any]) -> T:
    for name, field in fields.items():
        if field.required and name not in values:
            raise InvalidRequest(f"`{name}` is missing; wanted {field.wanted}.")
    return shape(**values)


def _without_unset(kind: Any) -> Any:  # noqa: ANN401  # a type
    members = [member for member in typing.get_args(kind) if member is not msgspec.UnsetType]
    if msgspec.UnsetType in typing.get_args(kind):
        return typing.Union[tuple(members)]  # noqa: UP007  # of types that are known now only
    return kind


def _wanted(kind: Any) -> str | None:  # noqa: ANN401  # a type
    for note in getattr(kind, "__metadata__", ()):
        if isinstance(note, Meta) and note.description is not None:
            return note.description
    return next((found for member in typing.get_args(kind) if (found := _wanted(member))), None)
