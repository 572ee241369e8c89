"""What a request may ask of the simulator: faults, pacing, and the shape of the answer.

Written as `key=value; key=value` in the header `x-simulator`, or after a colon in the model's name
(`claude-opus-5-5:slow-start=2`) by clients that cannot add headers. Pure; `app` reads it first of all.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import msgspec

from ferryman.simulator.errors import invalid

HEADER = "x-simulator"

_Number = TypeVar("_Number", int, float)

MAX_WAIT_SECONDS = 3_600.0  # an hour outlasts every client's timeout
MAX_COUNT = 1_000_000
MAX_BATCH_SECONDS = 365 * 86_400.0
MAX_DELTAS = 1_000
MAX_TEXT_BYTES = 64 * 1024 * 1024  # the text is held in memory, twice


@dataclass(frozen=True, slots=True)
class Control:
    """The wishes of one request. The defaults are those of a healthy API."""

    status: int | None = None
    retry_after: str | None = None
    should_retry: bool | None = None
    slow_start_seconds: float = 0.0
    stall_seconds: float = 0.0
    cut: int | None = None
    reset: bool = False
    drop: bool = False
    error_event: int | None = None
    times: int | None = None
    events: int | None = None
    pace_seconds: float = 0.0
    text_bytes: int | None = None
    comments: bool = False
    unknown_events: bool = False
    no_pings: bool = False
    gzip: bool = False
    crlf: bool = False
    thinking: bool = False
    tool: str | None = None
    usage: Mapping[str, Any] | None = None
    start_usage: Mapping[str, Any] | None = None
    deltas: int = 1
    iterations: bool = False
    refusal: bool = False
    served_by: str | None = None
    polls: int = 0
    batch_seconds: float = 0.0
    results: str = ""
    expire: bool = False
    uninterruptible: bool = False
    downloadable: bool = False
    echo: bool = False
    echo_headers: bool = False

    def without_faults(self) -> "Control":
        """The same wishes with nothing that fails or stalls, for the requests after `times`."""
        return replace(
            self,
            status=None,
            retry_after=None,
            should_retry=None,
            slow_start_seconds=0.0,
            stall_seconds=0.0,
            cut=None,
            drop=False,
            error_event=None,
        )


class Key(NamedTuple):
    """One key: the attribute of Control that it sets, how its value is read, and what it means."""

    attribute: str
    read: Callable[[str], object]
    meaning: str


def _flag(value: str) -> bool:
    return {"": True, "true": True, "false": False}[value.lower()]


def _count(value: str) -> int:
    return _between(int(value), 0, MAX_COUNT)


def _positive(value: str) -> int:
    return _between(int(value), 1, MAX_COUNT)


def _size_bytes(value: str) -> int:
    return _between(int(value), 0, MAX_TEXT_BYTES)


def _status(value: str) -> int:
    return _between(int(value), 400, 599)


def _seconds(value: str) -> float:
    return _between(float(value), 0.0, MAX_WAIT_SECONDS)  # not a number is not between either


def _batch_seconds(value: str) -> float:
    # up to a year: by the simulator's clock, which a test can advance, so that nobody waits for it
    return _between(float(value), 0.0, MAX_BATCH_SECONDS)


def _wishes(value: str) -> str:
    text = msgspec.json.decode(value, type=str)
    parse(text)
    return text


def _deltas(value: str) -> int:
    return _between(int(value), 1, MAX_DELTAS)


def _between(value: _Number, low: _Number, high: _Number) -> _Number:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _header_text(value: str) -> str:
    if re.fullmatch(r"[ -~]+", value) is None:  # anything else could not be sent as a header
        raise ValueError(value)
    return value


def _object(value: str) -> dict[str, Any]:
    return msgspec.json.decode(value, type=dict[str, Any])


KEYS: Mapping[str, Key] = {
    "status": Key("status", _status, "answer with this error, 400 to 599, whatever was asked"),
    "retry-after": Key("retry_after", _header_text, "send this retry-after"),
    "should-retry": Key("should_retry", _flag, "send x-should-retry: true or false"),
    "slow-start": Key("slow_start_seconds", _seconds, "wait so many seconds before the response head"),
    "stall": Key("stall_seconds", _seconds, "wait after the first content delta, or half of a JSON body"),
    "cut": Key("cut", _count, "close the connection after so many events, or bytes of a JSON body"),
    "reset": Key("reset", _flag, "make cut and drop a TCP reset instead of an early end"),
    "drop": Key("drop", _flag, "close the connection instead of answering"),
    "error-event": Key("error_event", _count, "end the stream with an error event after so many events"),
    "times": Key("times", _positive, "apply the faults to the first so many requests with the same bytes"),
    "events": Key("events", _positive, "split the text into exactly so many deltas"),
    "pace": Key("pace_seconds", _seconds, "wait so many seconds between events"),
    "text-bytes": Key("text_bytes", _size_bytes, "make the text exactly so long, unless max_tokens ends it"),
    "comments": Key("comments", _flag, "add comment lines to the stream"),
    "unknown-events": Key("unknown_events", _flag, "add events of an unknown type to the stream"),
    "no-pings": Key("no_pings", _flag, "send no ping events"),
    "gzip": Key("gzip", _flag, "compress the answer if accept-encoding allows it"),
    "crlf": Key("crlf", _flag, "end the lines of the stream with CR LF"),
    "thinking": Key("thinking", _flag, "think before answering, even when not asked to"),
    "tool": Key("tool", str, "use the tool of this name, or the first one"),
    "usage": Key("usage", _object, "report exactly this usage object"),
    "start-usage": Key(
        "start_usage", _object, "report this usage object in message_start, whatever comes later"
    ),
    "deltas": Key("deltas", _deltas, "send so many message_delta events, whose usage grows to the whole"),
    "iterations": Key("iterations", _flag, "add usage.iterations"),
    "refusal": Key("refusal", _flag, "refuse before the first word: stop_reason refusal, no content"),
    "served-by": Key("served_by", _header_text, "say that this model has answered"),
    "polls": Key("polls", _count, "of a batch: say in_progress to the first so many times it is asked for"),
    "batch-seconds": Key("batch_seconds", _batch_seconds, "of a batch: end it so long after its creation"),
    "results": Key("results", _wishes, "of a batch: such wishes for whoever reads its results, in quotes"),
    "expire": Key("expire", _flag, "in a batch: let this request expire"),
    "uninterruptible": Key("uninterruptible", _flag, "in a batch: finish this request though it is canceled"),
    "downloadable": Key(
        "downloadable", _flag, "of an upload: let it be downloaded, as files that tools made"
    ),
    "echo": Key("echo", _flag, "in the header: answer any request with 200, its own body and content type"),
    "echo-headers": Key("echo_headers", _flag, "answer with the request headers, as JSON, for text"),
}

# A semicolon separates entries unless it stands inside a JSON string.
_ENTRY = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^;])+')


def parse(*sources: str) -> Control:
    """Read control texts; a later one overrides an earlier one key by key.

    Raises:
        ApiError: 400, for an unknown key (naming the known ones), one given twice, or a bad value.
    """
    chosen: dict[str, Any] = {}
    for source in sources:
        chosen |= _read(source)
    return Control(**chosen)


def split_model(name: str) -> tuple[str, str]:
    """Divide a model's name into the model and the control text after its first colon."""
    model, _, text = name.partition(":")
    return model, text


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in _ENTRY.findall(text):
        name, _, value = (part.strip() for part in entry.partition("="))
        if not name and not value:
            continue
        key = KEYS.get(name)
        if key is None:
            raise invalid(f"{HEADER}: unknown key `{name}`; the known ones are {', '.join(KEYS)}")
        if key.attribute in found:
            raise invalid(f"{HEADER}: `{name}` is given twice")
        try:
            found[key.attribute] = key.read(value)
        except (ValueError, KeyError, msgspec.DecodeError) as error:
            raise invalid(
                f"{HEADER}: `{value}` is no value for `{name}`, which means: {key.meaning}"
            ) from error
    return found
