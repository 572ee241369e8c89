"""Who made what at Anthropic, as a worker knows it: what it has seen made, and what the control plane tells.

Whoever made a resource never changes, so what is known stays known. What is not known may have been made a
moment ago through another worker, whose journal is not in the database yet: it is asked for again for a
while before that is believed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from ferryman.errors import NotFound, Overloaded, OwnersUnknown, PermissionDenied, Unavailable
from ferryman.http1.message import Fields
from ferryman.limits.owner import ALL, Owner, may_see
from ferryman.process.messages import OWNERS_PATH, OwnersAnswer, OwnersQuestion
from ferryman.relay.ask import Asker
from ferryman.tasks import TaskOwner
from ferryman.wire.names import WORKSPACE
from ferryman.wire.owned import is_anthropics, is_id
from ferryman.wire.shown import Shown, shown_in, with_only

log = structlog.get_logger("ferryman.relay")

MAX_KNOWN = 20_000
"""Owners that are kept, those that were of use longest ago go first: some 6 MB. Far more than can be made
until a journal is read, so that no worker forgets what it alone knows."""

MAX_WAITING = 50_000
"""Ids that are waited for at once, by all exchanges of a worker: 50 full pages."""

MAX_QUESTION = 10_000
"""Ids of one question: 0.3 MB."""

WAIT_SECONDS = 2.0
"""How long an id that nobody knows is asked for again: a journal is read every half second, and a batch of
what was in it takes up to a few tenths."""

AGAIN_SECONDS = 0.25
"""Between two of these questions."""

UNKNOWN_SECONDS = 1.0
"""How long that nobody knows an id is believed, once it was asked for so long."""

MAX_UNKNOWN = 10_000
"""Of such ids: somebody who guesses ids is not to fill the memory."""

Ask = Callable[[list[str]], Awaitable[Mapping[str, Owner]]]

_decode = msgspec.json.Decoder(OwnersAnswer).decode


def asking(asker: Asker) -> Ask:
    """What asks the control plane for owners; it raises Unavailable."""

    async def ask(ids: list[str]) -> Mapping[str, Owner]:
        text = await asker.post(OWNERS_PATH, msgspec.json.encode(OwnersQuestion(ids)))
        try:
            return _decode(text).owners
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable("The control plane's answer cannot be read.") from error

    return ask


class Owners:
    """The owners that a worker knows, and the way to ask for others."""

    def __init__(
        self,
        ask: Ask,
        monotonic: Callable[[], float],
        *,
        wait_seconds: float = WAIT_SECONDS,
        most_known: int = MAX_KNOWN,
    ) -> None:
        """Know nothing yet.

        Args:
            ask: tells the owners of ids; see `asking`.
            monotonic: the clock, in seconds.
            wait_seconds: see `WAIT_SECONDS`.
            most_known: see `MAX_KNOWN`.
        """
        self._ask = ask
        self._monotonic = monotonic
        self._wait_seconds = wait_seconds
        self._most_known = most_known
        self._known: OrderedDict[str, Owner] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()  # and until when it is believed
        self._waiting: dict[str, asyncio.Future[Owner | None]] = {}  # those that the next question is for
        self._asks = False
        self._tasks = TaskOwner("owners")

    def __repr__(self) -> str:
        return f"<Owners {len(self._known)} known, {len(self._waiting)} waited for>"

    def learn(self, ids: Iterable[str], owner: Owner) -> None:
        """These were just made by `owner`, as far as nobody else is known to have made them."""
        for one in ids:
            self._unknown.pop(one, None)
            self._keep(one, self._known.get(one, owner))

    def known(self, ids: Iterable[str]) -> dict[str, Owner] | None:
        """The owners of `ids`; `None` if some have to be asked for. Owners of none are left out."""
        found: dict[str, Owner] = {}
        return None if self._sifted(ids, found) else found

    async def lookup(self, ids: Sequence[str], *, patient: bool) -> dict[str, Owner]:
        """The owners of `ids`; what nobody is known to have made is left out.

        Args:
            ids: of resources.
            patient: what nobody knows is asked for again, up to `wait_seconds`: for what a caller names. Not
                for a list, where something that is not known is the rule.

        Raises:
            OwnersUnknown: the control plane, or its database, is away.
            Overloaded: too many are asking.
        """
        until = self._monotonic() + self._wait_seconds
        found: dict[str, Owner] = {}
        left = ids
        while left := self._sifted(left, found):
            answers = await self._asked(left)
            found |= {one: owner for one, owner in answers.items() if owner is not None}
            left = [one for one in left if one not in found]
            if not patient:
                break
            if self._monotonic() >= until:
                self._give_up(left)
                break
            if left:
                await asyncio.sleep(AGAIN_SECONDS)
        return found

    async def close(self) -> None:
        """Ask nothing more."""
        await self._tasks.close()

    def _sifted(self, ids: Iterable[str], found: dict[str, Owner]) -> list[str]:
        """What has to be asked for of `ids`; what is known goes to `found`."""
        left: list[str] = []
        now = self._monotonic()
        for one in ids:
            owner = self._known.get(one)
            if owner is not None:
                self._known.move_to_end(one)
                found[one] = owner
            elif self._unknown.get(one, now) <= now and is_id(one):
                left.append(one)
        return left

    def _keep(self, one: str, owner: Owner) -> None:
        self._known[one] = owner
        self._known.move_to_end(one)
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)

    def _give_up(self, ids: Iterable[str]) -> None:
        until = self._monotonic() + UNKNOWN_SECONDS
        for one in ids:
            self._unknown[one] = until
            self._unknown.move_to_end(one)
        while len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)

    async def _asked(self, ids: list[str]) -> dict[str, Owner | None]:
        """What the next question brings of `ids`."""
        if len(self._waiting) + len(ids) > MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} owners are being looked up already; try again in a moment.")
        loop = asyncio.get_running_loop()
        answers = {one: self._waiting.setdefault(one, loop.create_future()) for one in ids}
        if not self._asks:
            self._asks = True
            self._tasks.spawn(self._ask_on(), "ask")
        await asyncio.wait(answers.values())  # which leaves them to the others if this one is given up
        return {one: answer.result() for one, answer in answers.items()}

    async def _ask_on(self) -> None:
        """Ask until nobody waits: one question at a time, with all that came up during the last."""
        asked: dict[str, asyncio.Future[Owner | None]] = {}
        try:
            while self._waiting:
                ids = list(self._waiting)[:MAX_QUESTION]
                asked = {one: self._waiting.pop(one) for one in ids}
                try:
                    answer = await self._ask(ids)
                except Unavailable as error:
                    log.warning("owners not known", reason=error.message)
                    self._fail(asked, _away())
                else:
                    for one, owner in answer.items():
                        self._keep(one, owner)
                    for one, waiting in asked.items():
                        waiting.set_result(answer.get(one))
        finally:
            self._asks = False
            self._fail(asked | self._waiting, _away())  # nobody waits for ever, whatever happened
            self._waiting.clear()

    @staticmethod
    def _fail(waiting: dict[str, asyncio.Future[Owner | None]], error: OwnersUnknown) -> None:
        for one in waiting.values():
            if not one.done():
                one.set_exception(error)
                one.exception()  # whoever waited may have left: that is no error


def _away() -> OwnersUnknown:
    return OwnersUnknown(
        "Whose this is cannot be told for now: Ferryman's control plane, or its database, does not answer. "
        "Nothing was done; try again in a moment."
    )


def check_workspace(fields: Fields, sees: str) -> None:
    """Let a request of a virtual key go on, as far as its headers go.

    In another workspace of the account are other files, and its own limits of spend: which one is used is
    for whoever runs the gateway to choose, and for keys that see all.

    Raises:
        PermissionDenied: it chooses a workspace.
    """
    if sees != ALL and WORKSPACE in fields.found:
        raise PermissionDenied(
            f"`{WORKSPACE.decode()}`: a virtual key works in the workspace that the gateway works in; leave "
            "the header out. Whoever runs the gateway can let the key choose, with `share: all`."
        )


def hidden(ids: Iterable[str], owners: Mapping[str, Owner], caller: Owner, sees: str) -> str | None:
    """The first of `ids` that a caller may not see, `None` if it sees all.

    Args:
        ids: that a path or a body names.
        owners: of those that are known.
        caller: as the owner of what it makes.
        sees: see `ferryman.limits.owner.may_see`.
    """
    return next((one for one in sorted(ids) if not may_see(owners.get(one), caller, sees)), None)


def asked_for(page: Iterable[Shown]) -> list[str]:
    """The ids whose owners decide what of a page is seen."""
    named = ((one.id, one.parent, *(other for other, _ in one.made)) for one in page)
    return list({known for ids in named for known in ids if known})


def seen_by(kind: str, owners: Mapping[str, Owner], caller: Owner, sees: str) -> Callable[[Shown], bool]:
    """What tells whether a caller sees what a page shows.

    What Anthropic has made for a session or a deployment belongs to whoever made that.

    Args:
        kind: of the collection.
        owners: of the ids of `asked_for` that are known.
        caller: as the owner of what it makes.
        sees: see `ferryman.limits.owner.may_see`.
    """

    def seen(one: Shown) -> bool:
        if sees == ALL or is_anthropics(kind, one.id):
            return True
        return bool(one.id) and may_see(_owner_of(one, owners), caller, sees)

    return seen


def made_on(kind: str, page: Iterable[Shown], owners: Mapping[str, Owner], caller: Owner) -> dict[str, str]:
    """What a page shows that is the caller's and was not known so far: ids, and the kind of each."""
    made: dict[str, str] = {}
    for one in page:
        owner = _owner_of(one, owners)
        if owner is not None and owner.key_id == caller.key_id:
            made |= {other: other_kind for other, other_kind in one.made if other not in owners}
            if one.id and one.id not in owners:
                made[one.id] = kind
    return made


class Cut(NamedTuple):
    """A page as a caller may see it.

    Attributes:
        body: the page itself if nothing was cut.
        made: see `made_on`.
    """

    body: bytes
    made: dict[str, str]


def cut(kind: str, body: bytes, owners: Mapping[str, Owner], caller: Owner, sees: str) -> Cut:
    """Cut a page of a list to what a caller sees.

    Args:
        kind: of the collection.
        body: of the answer, without its content coding.
        owners: of the ids of `asked_for` that are known.
        caller: as the owner of what it makes.
        sees: see `ferryman.limits.owner.may_see`.

    Raises:
        REFUSED of `ferryman.wire.shown`: it is no page.
    """
    shown = with_only(kind, body, seen_by(kind, owners, caller, sees))
    return Cut(shown, made_on(kind, shown_in(kind, body), owners, caller))


def _owner_of(one: Shown, owners: Mapping[str, Owner]) -> Owner | None:
    owner = owners.get(one.id)
    return owner if owner is not None or one.parent is None else owners.get(one.parent)


def not_found(resource_id: str) -> NotFound:
    """The error for what a caller does not see, whether it is there or not."""
    shown = resource_id[:200].encode("ascii", "backslashreplace").decode("ascii")
    return NotFound(
        f"Not found: `{shown}`. It is not there, or was made with a key that shares nothing with yours."
    )
