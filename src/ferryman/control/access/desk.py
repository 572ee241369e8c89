"""Answers the operations: reads what is asked, works in a transaction, publishes, and tells."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.clock import Clock
from ferryman.control.access import audit, budgets, customers, key_lists, keys, machines, tags, teams, users
from ferryman.control.access.operation import Context, Operation, Spends
from ferryman.control.access.publish import Publisher
from ferryman.control.access.reading import from_body, from_query, members_of
from ferryman.control.asking import Asking
from ferryman.control.callers import OPERATOR, ROLES, Caller, check_role
from ferryman.store.access import Actor, Change
from ferryman.store.access_look import TEAMS, USERS, token_of
from ferryman.store.store import Store

_HEADERS = {"cache-control": "no-store"}


def operations() -> list[Operation]:
    """Every operation."""
    parts = (key_lists, keys, users, teams, customers, budgets, machines, tags, audit)
    return [one for part in parts for one in part.operations()]


class Desk:
    """Serves keys and whom and what they belong to."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        spends: Spends,
        clock: Clock,
        master_key: str | None,
        *,
        asks_for_keys: bool = True,
    ) -> None:
        """Serve what is in `store`.

        Args:
            store: has it.
            publisher: tells workers.
            spends: what was spent.
            clock: the time.
            master_key: no key may be the same.
            asks_for_keys: see `Context`.
        """
        self._store = store
        self._publisher = publisher
        self._spends = spends
        self._clock = clock
        self._master_key = None if master_key is None else master_key.encode()
        self._asks_for_keys = asks_for_keys
        self.asking = Asking("requests about keys", "the database")

    def is_master(self, text: str) -> bool:
        """Whether `text` is the master key; compared in constant time."""
        key = self._master_key
        return key is not None and hmac.compare_digest(text.encode(), key)

    def __repr__(self) -> str:
        return f"<Desk {self.asking!r}>"

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route(one.path, self._endpoint(one), methods=[one.method]) for one in operations()]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self.asking.close()

    async def caller_of(self, credential: bytes) -> Caller | None:
        """Whose virtual key that is; `None` if it is none that is good now.

        Raises:
            Unavailable: the database is away.
        """
        return await self.caller_with(token_of(credential.decode("latin-1")))

    async def caller_with(self, token: str) -> Caller | None:
        """The same, by the SHA-256 of the key."""
        return await self.asking.in_thread(lambda: self._found(token))

    async def perform(
        self,
        caller: Caller,
        client: str | None,
        named: str,
        members: Mapping[str, Any],
        *,
        only_counted: bool = False,
    ) -> Any:  # noqa: ANN401  # JSON
        """What an operation answers, carried out for `caller` as if it had sent the request.

        Args:
            caller: who asks.
            client: address of who asks, for the audit log.
            named: method and path, such as `POST /key/generate`.
            members: what is asked, as JSON has it.
            only_counted: see `Spends.for_one_answer`.

        Raises:
            PermissionDenied: its role does not open it.
            RelayError: whatever the operation refuses.
            KeyError: there is no such operation.
        """
        operation = self._operations[named]
        check_role(caller, operation.method, operation.path)
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()}
        asked = from_body(operation.asks, raw)
        spends = self._spends.for_one_answer(only_counted=only_counted)
        return msgspec.json.decode(await self._carried_out(operation, asked, caller, client, spends))

    @cached_property
    def _operations(self) -> dict[str, Operation]:
        return {f"{one.method} {one.path}": one for one in operations()}

    def _found(self, token: str) -> Caller | None:
        now = self._now_microseconds()
        with self._store.access.look() as look:
            key = look.key_with(token, now)
            if key is None:
                return None
            user = None if key.user_id is None else look.get(USERS, key.user_id)
            team = None if key.team_id is None else look.get(TEAMS, key.team_id)
        if any(one is not None and one.blocked for one in (user, team)):
            return None
        role = "own" if user is None else ROLES[user.role]
        if role == "own" and token != key.token:
            role = "own viewer"  # a text from before: who has only that is not to take the key away
        return Caller(role, f"key:{key.id}", key.id, key.user_id, tuple(key.allowed_routes) or None)

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._answer(operation, request)

        answer.__doc__ = operation.summary
        return answer

    async def _answer(self, operation: Operation, request: Request) -> Response:
        if operation.method == "GET":
            asked: Any = from_query(operation.asks, request.query_params)
        else:
            named = {
                name: msgspec.Raw(msgspec.json.encode(text)) for name, text in request.path_params.items()
            }
            asked = from_body(operation.asks, await members_of(request) | named)
        caller = getattr(request.state, "caller", OPERATOR)
        client = None if request.client is None else request.client.host
        spends = self._spends.for_one_answer()
        told = await self._carried_out(operation, asked, caller, client, spends)
        return Response(told, media_type="application/json", headers=_HEADERS)

    async def _carried_out(
        self,
        operation: Operation,
        asked: Any,  # noqa: ANN401  # what the operation asks
        caller: Caller,
        client: str | None,
        spends: Spends,
    ) -> bytes:
        full, asks = self._publisher.is_full, self._asks_for_keys
        context = Context(caller, self._now_microseconds(), self.is_master, spends, full, asks)
        told, change = await self.asking.in_thread(
            lambda: self._done(operation, context, asked, Actor(caller.name, client))
        )
        if change is not None:
            await self._publisher.live(change)
        return told

    def _done(
        self,
        operation: Operation,
        context: Context,
        asked: Any,  # noqa: ANN401  # what the operation asks
        actor: Actor,
    ) -> tuple[bytes, Change | None]:
        change = None
        if operation.changes:
            told, change = self._store.access.change(
                actor, context.now_microseconds, lambda change: operation.work(change, context, asked)
            )
        else:
            with self._store.access.look() as look:
                told = operation.work(look, context, asked)
        return msgspec.json.encode(told(context.spends)), change

    def _now_microseconds(self) -> int:
        return int(self._clock.now() * 1_000_000)
