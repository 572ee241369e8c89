"""What a worker knows of models: which one a name means, and the list of them for those who ask.

It is looked at before the gate, so that all that follows goes by the model that is really asked: allow-lists,
limits, prices and records. With no alias known nothing of this runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ferryman.aliases import Aliases, Model, ModelList, resolved
from ferryman.errors import RelayError
from ferryman.http1.client import Body
from ferryman.limits.patterns import MAX_MODEL_CHARACTERS
from ferryman.model import Ended
from ferryman.relay.batch import MAX_DECODED_BODY_BYTES, batch_of
from ferryman.relay.model_answers import asked_of, listed
from ferryman.relay.respond import own_fields
from ferryman.wire.batch import Asked, renamed
from ferryman.wire.model_names import batch_splices, model_splice
from ferryman.wire.names import CODING, VERSION
from ferryman.wire.request import decoded

if TYPE_CHECKING:
    from ferryman.relay.exchange import Exchange
    from ferryman.relay.keyring import Key

AT_ONCE = 20
"""Requests of a batch whose models are put in their places before anybody else gets a turn: about a
millisecond."""


class Models:
    """What a worker knows of models.

    Attributes:
        told: as the control plane, or the settings, tell it.
        aliases: the same, to be looked up.
        by_id: the models.
    """

    def __init__(self, told: ModelList) -> None:
        self.told = told
        self.by_id: Mapping[str, Model] = {model.id: model for model in told.models}
        self.aliases = Aliases(self.by_id, told.aliases, told.made)

    def __repr__(self) -> str:
        return f"<Models {self.aliases!r}>"

    def resolved(self, name: str, key: Key | None) -> str:
        """The model that `name` means to a caller with this `key`."""
        return resolved(name, None if key is None else key.aliases, self.aliases)

    def may_ask(self, key: Key | None, model: str) -> bool:
        """Whether a caller may ask for `model`, a resolved name, by its key's lists or by what they mean."""
        return key is None or key.may_ask(model) or self.judge(key)(model)

    def judge(self, key: Key | None) -> Callable[[str], bool]:
        """The same for many models: what the names in the key's lists mean is looked up once."""
        if key is None or not key.allowed:
            return lambda _: True
        lists = [
            (pattern, frozenset(self.resolved(name, key) for name in names if "*" not in name))
            for pattern, names in zip(key.allowed, key.spec.models, strict=True)
        ]
        return lambda model: (
            len(model) <= MAX_MODEL_CHARACTERS
            and all(model in meant or pattern.fullmatch(model) for pattern, meant in lists)
        )


NO_MODELS = Models(ModelList())
"""Where only keys have aliases."""


def models_part(data: msgspec.Raw) -> Models:
    """What is made of the part of a snapshot that is about models.

    Raises:
        ValueError: it cannot be read.
    """
    return Models(msgspec.json.decode(data, type=ModelList))


def models_of(told: ModelList | None) -> Models | None:
    """What a worker begins with."""
    return None if told is None else Models(told)


def resolve(exchange: Exchange, text: Body, models: Models) -> bool:
    """Put the models that are really asked for into the call, or the batch, of `exchange`.

    Or answer it, if it asks for the list of models, and that is ours.

    Args:
        exchange: its body is whole; its `admit` is called again if it has to wait. Its `edits` come to have
            the changes that this takes.
        text: the body, without a content coding where the call could be read.
        models: what is known of them.

    Returns:
        Whether the exchange goes on now.

    Raises:
        InvalidRequest: a name that is to be changed stands twice.
        NotFound: there is no such model to be shown.
    """
    key = exchange.caller.key if exchange.caller is not None else None
    if exchange.route.reads_call:
        name = exchange.call.model
        if name is not None and (model := models.resolved(name, key)) != name:
            exchange.call = msgspec.structs.replace(exchange.call, model=model)
            exchange.edits = [*exchange.edits, model_splice(text, model)]
        return True
    if exchange.batch is not None and (asked := exchange.batch.asked) is not None:
        found = {name: models.resolved(name, key) for name in asked.names}
        names = {name: model for name, model in found.items() if name != model}
        return not names or _rename_batch(exchange, asked, names)
    if models.told.answers and not exchange.streaming and exchange.request.method in {b"GET", b"HEAD"}:
        return not _answer(exchange, models, key)
    return True


def _rename_batch(exchange: Exchange, asked: Asked, names: Mapping[str, str]) -> bool:
    text: Body | None = exchange.body
    if (packed := exchange.request.fields.found.get(CODING)) is not None:
        text = decoded(exchange.body, packed, MAX_DECODED_BODY_BYTES)
    assert text is not None  # noqa: S101  # `asked` was read of it
    exchange.batch = batch_of(exchange, renamed(asked, names), len(text))
    if asked.requests > AT_ONCE or text is not exchange.body:
        exchange.line.tasks.spawn(_rename_aside(exchange, text, names), "rename")
        return False
    exchange.edits = [splice for splice in batch_splices(text, names) if splice is not None]
    return True


async def _rename_aside(exchange: Exchange, text: Body, names: Mapping[str, str]) -> None:
    """The same, a few requests at a time: a large batch takes seconds, in which others want to be served."""
    splices = []
    try:
        for number, splice in enumerate(batch_splices(text, names)):
            if splice is not None:
                splices.append(splice)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
                if exchange.settled:
                    return
    except RelayError as error:
        exchange.fail(error)
        return
    exchange.edits = splices
    exchange.admit(text)


def _answer(exchange: Exchange, models: Models, key: Key | None) -> bool:
    """Whether `exchange` asks for models by a path of ours; it is answered then."""
    asked = asked_of(exchange.route)
    if asked is None:
        return False
    own = {} if key is None else key.spec.aliases
    aliases = {**models.told.made, **models.told.aliases, **own}
    targets = {alias: models.resolved(alias, key) for alias in aliases if alias not in models.by_id}
    may_ask = models.judge(key)
    body = listed(
        asked,
        [model for model in models.told.models if may_ask(model.id)],
        {alias: model for alias, model in targets.items() if may_ask(model)},
        models.resolved(asked.model, key) if asked.model else "",
        is_anthropics=VERSION in exchange.request.fields.found,
    )
    exchange.line.leave(exchange)
    exchange.answered, exchange.status, exchange.response_bytes = True, 200, len(body)
    exchange.settle(Ended.DONE)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    exchange.client.start_response(200, own_fields(headers, exchange.id), len(body))
    exchange.client.write(b"" if exchange.request.method == b"HEAD" else body, end=True)
    return True
