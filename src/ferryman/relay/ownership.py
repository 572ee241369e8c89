"""Whose is what: what a virtual key may name, what it is shown, and what it makes.

What is known of owners decides at once, and so does what names nothing, which is the rule. For what has to
be asked for, the exchange waits: its `admit` or its `show` is called again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from ferryman.errors import (
    InternalError,
    InvalidRequest,
    Overloaded,
    RelayError,
    UpstreamInvalid,
)
from ferryman.http1.client import Body
from ferryman.http1.message import ResponseHead
from ferryman.limits.owner import ALL, Owner
from ferryman.model import Principal
from ferryman.relay.batch import MAX_DECODED_BODY_BYTES, ShownMeter
from ferryman.relay.held import noted, put, text_of
from ferryman.relay.meter import Meter
from ferryman.relay.owners import Owners, asked_for, check_workspace, cut, hidden, not_found
from ferryman.relay.route import with_reading
from ferryman.wire.names import CODING, USER_PROFILE, WORKSPACE
from ferryman.wire.owned import LIST, READ, Resource, is_anthropics
from ferryman.wire.refers import MAX_REFERENCES, STEP_BYTES, references_in
from ferryman.wire.request import decoded
from ferryman.wire.shown import MAX_MADE, OWNERSHIP, REFUSED, Shown, made_in, shown_in, tells

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange

log = structlog.get_logger("ferryman.relay")

WATCHED = frozenset({USER_PROFILE, WORKSPACE})

MAX_WAITING = 1_000
"""Exchanges that wait at once; each holds its body. What comes beyond them is answered at once."""

MAX_ASKED_OF_KEY = MAX_REFERENCES
ASKED_AT_LEAST = MAX_ASKED_OF_KEY // 250
"""Ids that the requests of one key have looked up at once, and what each request counts as at least: what a
caller makes up is asked for again for seconds, and is not to take the places of all others. A quarter of
`MAX_WAITING` is left to one key, and the largest body."""

_encode = msgspec.json.Encoder().encode
_JSON = b"application/json"
_IDENTITY = b"identity"


class Claim:
    """What sharing has to know of an exchange with a virtual key.

    Attributes:
        sees: see `ferryman.limits.owner.may_see`.
        may_go: what its request names has been looked at.
        may_show: so has what its answer shows.
        made: ids, and the kind of each; `None` for nothing.
    """

    __slots__ = ("_owners", "_principal", "made", "may_go", "may_show", "sees")

    def __init__(self, owners: Owners, principal: Principal, sees: str) -> None:
        self._owners = owners
        self._principal = principal
        self.sees = sees
        self.may_go = self.may_show = False
        self.made: dict[str, str] | None = None

    @property
    def owner(self) -> Owner:
        """Of what the exchange makes."""
        return Owner(self._principal.id, self._principal.team_id)

    def note(self, made: Mapping[str, str]) -> None:
        """These were made. From now on this worker knows it; others do once the entry is stored."""
        if self.made is None:
            self.made = {}
        if len(self.made) < MAX_MADE:
            self.made.update(made)
            self._owners.learn(made, self.owner)


class Ownership:
    """Keeps what belongs to one from others. Nothing of it is for callers without a virtual key."""

    def __init__(self, owners: Owners) -> None:
        """`owners` is what this worker knows, and asks."""
        self._owners = owners
        self._waiting: dict[Exchange, Body] = {}
        self._asked: Counter[str] = Counter()  # by key

    def __repr__(self) -> str:
        return f"<Ownership {self._owners!r}, {len(self._waiting)} waiting>"

    @property
    def waiting_count(self) -> int:
        """Exchanges that wait to be told of owners."""
        return len(self._waiting)

    async def close(self) -> None:
        """Ask nothing more."""
        await self._owners.close()

    def begin(self, exchange: Exchange) -> None:
        """Take up a request whose caller is known: its route is made to read what has to be read.

        Raises:
            MethodNotAllowed: it changes a whole collection, or asks how long a list is.
            PermissionDenied: it chooses a workspace.
        """
        caller, route = exchange.caller, exchange.route
        if caller is None or caller.key is None:
            return
        sees = caller.key.spec.sees
        check_workspace(exchange.request.fields, sees)
        exchange.claim = claim = Claim(self._owners, caller.principal, sees)
        if route.kind == "closed":  # whoever runs the gateway has opened it by name
            claim.may_go = claim.may_show = True
        elif not route.reads_call:
            exchange.route = with_reading(route, exchange.request.method, strict=sees != ALL)
        if sees == ALL:
            claim.may_go = True

    def admits(self, exchange: Exchange, text: Body) -> bool:
        """Whether a request goes on; if not, it waits, and its `admit` is called again.

        Args:
            exchange: its body is whole, or nobody looks into it.
            text: the body, without its content coding where it is a Messages call.

        Raises:
            NotFound: it names what its caller does not see.
            InvalidRequest: what it names cannot be told.
            Overloaded: too many wait already.
        """
        claim = exchange.claim
        if claim is None or claim.may_go:
            return True
        route, found = exchange.route, exchange.request.fields.found
        ids: set[str] = set()
        if route.whole:
            is_packed = CODING in found and _is_packed(exchange, text)
            if is_packed or len(text) > STEP_BYTES:
                return self._wait(exchange, text, self._read_aside(exchange, claim, is_packed=is_packed))
            ids = references_in(text, route.resource)
        if route.resource is not None or USER_PROFILE in found:
            ids |= _named(exchange)
        if not ids:
            claim.may_go = True
            return True
        owners = self._owners.known(ids)
        if owners is None:
            return self._wait(exchange, text, self._look_up(exchange, claim, ids))
        _check(claim, ids, owners)
        return True

    def _wait(self, exchange: Exchange, text: Body, work: Coroutine[None, None, None]) -> bool:
        if len(self._waiting) >= MAX_WAITING:
            work.close()
            raise Overloaded(f"{MAX_WAITING} requests wait for owners already; try again in a moment.")
        self._waiting[exchange] = text
        exchange.line.tasks.spawn(self._guarded(exchange, work), "owners")
        return False

    async def _guarded(self, exchange: Exchange, work: Coroutine[None, None, None]) -> None:
        """Do `work`; whatever becomes of it, `exchange` does not wait for ever."""
        try:
            await work
        except RelayError as error:
            failure = error
        except Exception:
            log.exception("owners not told", id=exchange.id)
            failure = InternalError("Ferryman failed at this request; its log says where.")
        else:
            return
        self._waiting.pop(exchange, None)
        if not exchange.settled:
            exchange.fail(failure)

    async def _read_aside(self, exchange: Exchange, claim: Claim, *, is_packed: bool) -> None:
        """Read a large body on a thread: it can take half a second."""
        if exchange not in self._waiting:
            return
        coding = exchange.request.fields.found[CODING] if is_packed else _IDENTITY
        resource = exchange.route.resource
        # No name for the body here: it would outlive a client that leaves.
        ids = await asyncio.to_thread(_references, self._waiting[exchange], coding, resource)
        await self._look_up(exchange, claim, ids | _named(exchange))

    async def _look_up(self, exchange: Exchange, claim: Claim, ids: set[str]) -> None:
        _check(claim, ids, await self._owners_of(claim, ids) if ids else {})
        text = self._waiting.pop(exchange, None)
        if text is not None and not exchange.settled:  # the client may have left meanwhile
            exchange.admit(text)

    async def _owners_of(self, claim: Claim, ids: set[str]) -> dict[str, Owner]:
        key_id, count = claim.owner.key_id, max(len(ids), ASKED_AT_LEAST)
        if self._asked[key_id] + count > MAX_ASKED_OF_KEY:
            raise Overloaded("Too many requests of this key wait for owners already; try again in a moment.")
        self._asked[key_id] += count
        try:
            return await self._owners.lookup(sorted(ids), patient=True)
        finally:
            self._asked[key_id] -= count
            if not self._asked[key_id]:
                del self._asked[key_id]

    def meter(self, exchange: Exchange, head: ResponseHead, otherwise: Meter) -> Meter:
        """The meter for an answer: it is held where it has to be read.

        Args:
            exchange: its route is not metered.
            head: of the answer.
            otherwise: for an answer in which there is nothing for us.
        """
        claim, resource = exchange.claim, exchange.route.resource
        if claim is None or claim.may_show or resource is None or not tells(resource):
            return otherwise
        if not 200 <= head.status < 300 or isinstance(otherwise, ShownMeter):
            return otherwise
        if resource.verb == LIST and claim.sees != ALL:
            return ShownMeter(None)
        kind = head.fields.found.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return ShownMeter(None) if kind == _JSON else otherwise

    def shows(self, exchange: Exchange, held: bytearray, *, end: bool) -> bool:
        """Note what a held answer tells to be made, and leave on a list what the caller sees.

        Args:
            exchange: whose answer it is. It has failed if a list cannot be read.
            held: the body so far, edited in place.
            end: it is whole.

        Returns:
            Whether it goes on; if not, it has failed, or waits, and its `show` is called again.
        """
        claim, resource, head = exchange.claim, exchange.route.resource, exchange.response_head
        if claim is None or claim.may_show or resource is None or head is None:
            return True
        if not isinstance(exchange.meter, ShownMeter) or not tells(resource) or (end and not held):
            return True
        text = text_of(head, held) if end else None
        if resource.verb != LIST:
            if text is not None and (made := made_in(resource, text)):
                claim.note(made)
            return True
        page = None if text is None else _page_in(resource.kind, text)
        if text is None or page is None:
            if claim.sees != ALL:
                exchange.fail(_unreadable())
            return claim.sees == ALL
        return self._shows_page(exchange, claim, held, text, page)

    def _shows_page(
        self, exchange: Exchange, claim: Claim, held: bytearray, text: bytes, page: list[Shown]
    ) -> bool:
        if claim.sees == ALL:  # of these the owner may be known only by way of another
            page = [one for one in page if one.parent or one.made]
        ids = asked_for(page)
        owners = self._owners.known(ids)
        if owners is not None:
            _show_seen(exchange, claim, held, text, owners)
            return True
        exchange.deadline = float("inf")  # the upstream has done its part; asking has an end of its own
        try:
            return self._wait(exchange, b"", self._show_later(exchange, claim, held, text, ids))
        except Overloaded as error:
            exchange.fail(error)
            return False

    async def _show_later(
        self, exchange: Exchange, claim: Claim, held: bytearray, text: bytes, ids: list[str]
    ) -> None:
        try:
            owners = await self._owners.lookup(ids, patient=False)
        except RelayError:
            if claim.sees != ALL:
                raise
            owners = {}
        if self._waiting.pop(exchange, None) is not None and not exchange.settled:
            _show_seen(exchange, claim, held, text, owners)
            exchange.show(held, end=True)

    def leave(self, exchange: Exchange) -> None:
        """It is over, and waits for nothing any more."""
        self._waiting.pop(exchange, None)


def with_made(record: bytes, claim: Claim | None) -> bytes:
    """The JSON of an `Entry`, with what its exchange has made."""
    if claim is None or not claim.made:
        return record
    return b'%b,"made":%b}' % (record[:-1], _encode(claim.made))


def _is_packed(exchange: Exchange, text: Body) -> bool:
    """Whether `text` has a content coding still.

    Raises:
        InvalidRequest: it has several.
    """
    fields = exchange.request.fields
    if exchange.route.chat:  # it has been translated
        return False
    if CODING in fields.repeated:
        raise InvalidRequest("`Content-Encoding` stands more than once; send one.")
    return fields.found[CODING].lower() != _IDENTITY and (
        not exchange.route.reads_call or text is exchange.body
    )


def _references(text: Body, coding: bytes, resource: Resource | None) -> set[str]:
    """The ids that a body with this content coding refers to.

    Raises:
        InvalidRequest: they cannot be told.
    """
    plain: Body | None = text if coding == _IDENTITY else decoded(text, coding, MAX_DECODED_BODY_BYTES)
    if plain is None or (plain is not text and len(plain) > MAX_DECODED_BODY_BYTES):
        raise InvalidRequest(
            f"The request body cannot be decoded, or has more than {MAX_DECODED_BODY_BYTES} bytes then; send "
            "it without `Content-Encoding`."
        )
    return references_in(plain, resource)


def _named(exchange: Exchange) -> set[str]:
    """The ids in the head of a request."""
    fields, resource = exchange.request.fields, exchange.route.resource
    ids: set[str] = set()
    if USER_PROFILE in fields.found:
        ids.update(value.decode("latin-1") for value in fields.values(USER_PROFILE) if value)
    if resource is not None and resource.id is not None:
        is_read = resource.verb == READ and is_anthropics(resource.kind, resource.id)
        if not is_read:
            ids.add(resource.id)
    return ids


def _check(claim: Claim, ids: set[str], owners: Mapping[str, Owner]) -> None:
    """Let a request go on that names `ids`.

    Raises:
        NotFound: its caller does not see one of them.
    """
    first = hidden(ids, owners, claim.owner, claim.sees) if ids else None
    if first is not None:
        raise not_found(first)
    claim.may_go = True


def _page_in(kind: str, text: bytes) -> list[Shown] | None:
    try:
        return shown_in(kind, text)
    except REFUSED:
        return None


def _show_seen(
    exchange: Exchange, claim: Claim, held: bytearray, text: bytes, owners: Mapping[str, Owner]
) -> None:
    """Leave on a page of a list what its caller sees."""
    resource, head = exchange.route.resource, exchange.response_head
    claim.may_show = True
    if resource is None or head is None:
        return
    seen = cut(resource.kind, text, owners, claim.owner, claim.sees)
    if seen.made:
        claim.note(seen.made)
    if seen.body is not text:
        put(head, held, seen.body)
        exchange.mutations = noted(exchange.mutations, OWNERSHIP)


def _unreadable() -> UpstreamInvalid:
    return UpstreamInvalid(
        "The upstream's list cannot be read, so that what others have made cannot be taken out of it; ask "
        "for a shorter page."
    )
