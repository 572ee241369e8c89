"""`/key/*`: making, changing and deleting virtual keys."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ferryman.control.access import asked as asks
from ferryman.control.access.compile import budgets_of, in_force
from ferryman.control.access.durations import end_of
from ferryman.control.access.finding import budget_of, caller_key, checked_key, checked_links
from ferryman.control.access.operation import Context, Operation, Spends, Told, changing
from ferryman.control.access.reading import from_body, refused
from ferryman.control.access.shown import (
    anchor_of,
    generated,
    key_adjustment,
    key_row,
    resets_at,
    spend_fields,
    spent_of,
    window_of,
)
from ferryman.control.access.terms import amount, dollars_or_none, record_in
from ferryman.control.spend_row import dollars_of
from ferryman.errors import InvalidRequest, NotFound, RelayError
from ferryman.settings_models import problems_with
from ferryman.store.access import Change
from ferryman.store.access_look import KEYS, token_of
from ferryman.store.access_rows import Key

KEY_BYTES = 18
"""Of chance in a key: 144 bits, in 24 characters."""

MAX_ALIASES = 100
"""Of a key: they stand beside it in the snapshot, where a part has room for 1 MiB."""

MIN_KEY_CHARACTERS = 16

_TEXT = re.compile(r"sk-[!-~]+", re.ASCII)
_ROUTE = re.compile(r"/[!-~]*|\*", re.ASCII)
_EVERY_KEYS = frozenset({"llm_api_routes", "anthropic_routes"})
"""LiteLLM's words for what every key may call here anyway."""

_DURATION = "a duration such as `30s`, `15m`, `12h`, `7d`, `30d` or `1mo`"


def operations() -> list[Operation]:
    """All that makes a change."""
    again = "Give a key a new text; the old one goes on for `grace_period`."
    return [
        changing("/key/generate", asks.GenerateKey, generate, "Make a key; its text is told this once."),
        changing(
            "/key/service-account/generate",
            asks.GenerateKey,
            generate_for_service,
            "Make a key of a team without a user.",
        ),
        changing("/key/update", asks.UpdateKey, update, "Change a key; `null` clears a field."),
        changing(
            "/key/bulk_update", asks.BulkUpdateKeys, bulk_update, "Change several keys, each by itself."
        ),
        changing("/key/delete", asks.NamedKeys, delete, "Delete keys, by `keys` or by `key_aliases`."),
        changing("/key/block", asks.NamedKey, block, "Let nothing through with a key."),
        changing("/key/unblock", asks.NamedKey, unblock, "Let a key be used again."),
        changing("/key/regenerate", asks.RegenerateKey, regenerate, again),
        changing("/key/{key}/regenerate", asks.RegenerateKey, regenerate, again),
        changing("/key/{key}/reset_spend", asks.ResetSpend, reset_spend, "Set what a key has spent."),
    ]


def generate(change: Change, context: Context, asked: asks.GenerateKey) -> Told:
    """Make a key."""
    key, text = made(change, context, asked)
    budget = budget_of(change, key)
    return lambda spends: generated(key, text, spends, budget)


def generate_for_service(change: Change, context: Context, asked: asks.GenerateKey) -> Told:
    """Make a key of a team that is nobody's."""
    if not asked.team_id:
        raise InvalidRequest("`team_id` is missing: a service account belongs to a team; name one.")
    if asked.user_id:
        raise InvalidRequest("`user_id`: a service account has no user; leave it out.")
    return generate(change, context, asked)


def made(change: Change, context: Context, asked: asks.GenerateKey) -> tuple[Key, str]:
    """A new key and its text."""
    if not context.asks_for_keys:
        raise InvalidRequest(
            "this Ferryman runs without a master key and asks nobody for a virtual key: one would do "
            "nothing, and with keys in its database Ferryman would not start again. Set `master_key` "
            "(FERRYMAN_MASTER_KEY), start it anew, and make the key then."
        )
    if context.is_full:
        raise InvalidRequest(
            "there are as many keys, limits and budgets as the workers are told of at once; delete some "
            "keys, or give them budgets by `budget_id`, `user_id` or `team_id`, first."
        )
    text = _text_in(change, context, "key", asked.key)
    token = token_of(text)
    fields = _fields_in(change, context, asked, None)
    key = Key(
        id=token,
        token=token,
        name=name_of(text),
        created_at_microseconds=change.now_microseconds,
        created_by=context.caller.name,
        updated_at_microseconds=change.now_microseconds,
        updated_by=context.caller.name,
        **fields,
    )
    return change.add(KEYS, key), text


def name_of(text: str) -> str:
    """How a key is shown, as LiteLLM does it."""
    return f"sk-...{text[-4:]}"


def update(change: Change, context: Context, asked: asks.UpdateKey) -> Told:
    """Change a key."""
    key = changed(change, context, asked)
    budget = budget_of(change, key)
    return lambda spends: {"key": key.id, **key_row(key, spends, budget)}


def changed(change: Change, context: Context, asked: asks.UpdateKey) -> Key:
    """A key after what is asked for."""
    key = checked_key(change, asked.key)
    return change.replace(KEYS, key, **_fields_in(change, context, asked, key))


def bulk_update(change: Change, context: Context, asked: asks.BulkUpdateKeys) -> Told:
    """Change several keys; one that cannot be changed leaves the others alone."""
    good: list[Key] = []
    bad: list[dict[str, Any]] = []
    for number, members in enumerate(asked.keys):
        try:
            good.append(changed(change, context, from_body(asks.UpdateKey, members)))
        except RelayError as error:
            bad.append({"number": number, "key": _shown_name(members), "failed_reason": error.message})
    budgets = [budget_of(change, key) for key in good]
    return lambda spends: {
        "total_requested": len(asked.keys),
        "successful_updates": [
            {"key": key.id, "key_info": key_row(key, spends, budget)}
            for key, budget in zip(good, budgets, strict=True)
        ],
        "failed_updates": bad,
    }


def delete(change: Change, _context: Context, asked: asks.NamedKeys) -> Told:
    """Delete keys: all of them, or none if one is not there."""
    named, aliases = asked.keys or [], asked.key_aliases or []
    if bool(named) == bool(aliases):
        raise InvalidRequest("wanted either `keys` or `key_aliases`, a list of at least one.")
    found = {key.id: key for key in (checked_key(change, name) for name in named)}
    for alias in aliases:
        keys = change.where(KEYS, "alias", alias)
        if not keys:
            raise NotFound(f"`key_aliases`: there is no key with the alias `{alias}`; nothing was deleted.")
        found[keys[0].id] = keys[0]
    for key in found.values():
        change.remove(KEYS, key)
    ids = list(found)
    return lambda _spends: {"deleted_keys": ids}


def block(change: Change, _context: Context, asked: asks.NamedKey) -> Told:
    """Block a key."""
    return _blocked(change, asked.key, "block", blocked=True)


def unblock(change: Change, _context: Context, asked: asks.NamedKey) -> Told:
    """Take that back."""
    return _blocked(change, asked.key, "unblock", blocked=False)


def regenerate(change: Change, context: Context, asked: asks.RegenerateKey) -> Told:
    """Give a key a new text. The old one ends now, or after the grace period; older ones end now."""
    key = caller_key(change, context, asked.key)
    if not context.caller.sees_all:
        given = [name for name in msgspec.structs.asdict(asked) if getattr(asked, name) is not UNSET]
        if more := sorted(set(given) - {"key", "new_key", "grace_period"}):
            raise InvalidRequest(f"`{more[0]}` can be changed by an administrator only; leave it out.")
    text = _text_in(change, context, "new_key", asked.new_key)
    fields = _fields_in(change, context, asked, key)
    until = None
    if asked.grace_period and asked.grace_period != "0s":
        until = _end("grace_period", asked.grace_period, change.now_microseconds)
    change.end_old_tokens(key)
    token = token_of(text)
    new = {"token": token, "name": name_of(text), "regenerated": key.regenerated + 1}
    after = change.replace(KEYS, key, "regenerate", **fields, **new)
    change.end_token(key.token, until)
    budget = budget_of(change, after)
    return lambda spends: generated(after, text, spends, budget)


def reset_spend(change: Change, context: Context, asked: asks.ResetSpend) -> Told:
    """Let a key count as having spent so much, or less than it has, in its window; and no more in others."""
    key = checked_key(change, asked.key)
    budget = budget_of(change, key)
    to_nanousd = amount("reset_to", asked.reset_to)
    before = spent_of("key", key, context.spends, budget)
    if to_nanousd > before:
        most = f"dollars, at most the `{dollars_of(before)}` that it has spent"
        raise refused("reset_to", str(asked.reset_to), most)
    scope, window = f"key:{key.id}", window_of(key, budget)
    counted = [
        (one.window, one.model)
        for one in budgets_of(in_force(key, budget), anchor_of(key), "expected")
        if context.spends.counts(scope, one.window, one.model)
    ]
    is_counted = (window, "") in counted
    adjustment = 0 if is_counted else key_adjustment(key, context.spends, budget) + to_nanousd - before
    ends_at = resets_at(key, context.spends, budget)
    after = change.replace(
        KEYS, key, "reset_spend", adjustment_nanousd=adjustment, adjustment_ends_at=ends_at
    )

    def told(spends: Spends) -> dict[str, Any]:
        for word, model in counted:
            if spends.spent(scope, word, model) > to_nanousd:
                spends.reset(scope, word, to_nanousd, model)
        return {
            "key_hash": key.id,
            "previous_spend": dollars_of(before),
            "max_budget": dollars_or_none(after.max_budget_nanousd),
            **spend_fields("key", after, spends, budget),
        }

    return told


def _blocked(change: Change, named: str, action: str, *, blocked: bool) -> Told:
    key = change.replace(KEYS, checked_key(change, named), action, blocked=blocked)
    budget = budget_of(change, key)
    return lambda spends: key_row(key, spends, budget)


def _fields_in(change: Change, context: Context, asked: asks.AskedKey, key: Key | None) -> dict[str, Any]:
    """The fields of a key that `asked` sets, checked against what there is."""
    fields = record_in(asked)
    if asked.key_alias is not UNSET:
        fields["alias"] = asked.key_alias
        taken = [] if asked.key_alias is None else change.where(KEYS, "alias", asked.key_alias)
        if any(key is None or other.id != key.id for other in taken):
            problem = "another key has this alias already; aliases are unique, take another"
            raise InvalidRequest(f"`key_alias`: {problem}: `{asked.key_alias}`.")
    if asked.duration is not UNSET:
        word = None if asked.duration == "-1" else asked.duration  # LiteLLM's old word for never
        fields["duration"] = word
        fields["expires_at_microseconds"] = (
            None if word is None else _end("duration", word, change.now_microseconds)
        )
    for name in ("user_id", "team_id", "share", "log_bodies"):
        if (value := getattr(asked, name)) is not UNSET:
            fields[name] = value
    for name in ("tags", "allowed_routes"):
        if (value := getattr(asked, name)) is not UNSET:
            fields[name] = list(dict.fromkeys(value or []))
    if asked.aliases is not UNSET:
        fields["aliases"] = _checked_aliases(asked.aliases or {})
    _check_routes(fields.get("allowed_routes", ()))
    checked_links(change, context, fields)
    return fields


def _checked_aliases(aliases: dict[str, str]) -> dict[str, str]:
    for problem in problems_with(aliases, MAX_ALIASES):
        raise InvalidRequest(f"`aliases`: {problem}.")
    return aliases


def _check_routes(routes: Iterable[str]) -> None:
    for route in routes:
        if route not in _EVERY_KEYS and not _ROUTE.fullmatch(route):
            raise refused(
                "allowed_routes", route, "paths such as `/v1/messages` or `/v1/files*`, or `llm_api_routes`"
            )


def _end(name: str, word: str, begin_microseconds: int) -> int:
    try:
        return end_of(word, begin_microseconds)
    except ValueError as error:
        raise refused(name, word, _DURATION) from error


def _text_in(change: Change, context: Context, name: str, text: object) -> str:
    """The text of a new key: what was asked for, or one made up.

    Raises:
        InvalidRequest: it cannot be used, or is or was a key already.
    """
    if not isinstance(text, str):
        return f"sk-{secrets.token_urlsafe(KEY_BYTES)}"
    if not _TEXT.fullmatch(text) or len(text) < MIN_KEY_CHARACTERS:
        raise refused(
            name,
            text,
            f"a text that begins with `sk-` and has at least {MIN_KEY_CHARACTERS} characters, all of them "
            "printable ASCII",
        )
    if context.is_master(text) or change.key(text) is not None:
        raise InvalidRequest(f"`{name}`: this text is a key already, or was one; take another.")
    return text


def _shown_name(members: dict[str, Raw]) -> str | None:
    """The token of the key that an update names, `None` if it names none that could be read."""
    try:
        name = msgspec.json.decode(members["key"], type=str)
    except (KeyError, msgspec.DecodeError):
        return None
    return token_of(name) if name.startswith("sk-") else name
