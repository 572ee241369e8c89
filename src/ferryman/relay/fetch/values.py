"""What becomes of a URL: a source that holds the file, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ferryman.relay.fetch.target import told
from ferryman.wire.images import UrlSource, Wanted


class FetchLimits(NamedTuple):
    """Bounds of one worker.

    Attributes:
        seconds: for one file, redirects included, and as long again for its turn.
        image_bytes: of an image; a PDF is only held to the next one, as at Anthropic.
        request_bytes: of all that is fetched for a request; what stands in it twice counts twice.
        downloads: at once.
    """

    seconds: float
    image_bytes: int
    request_bytes: int
    downloads: int


class Inlined(NamedTuple):
    """A file that is here.

    Attributes:
        text: the source object that takes the place of the one with the URL.
        size_bytes: of the file itself, without base64.
    """

    text: bytes
    size_bytes: int


class Failed(NamedTuple):
    """A file that could not be had.

    Attributes:
        wanted: what was asked for.
        reason: the end of a sentence about it.
    """

    wanted: Wanted
    reason: str

    @property
    def message(self) -> str:
        """The sentence that a client is told; without user name, password and query of the URL."""
        return f"The {self.wanted.kind} {told(self.wanted.url)} could not be fetched: {self.reason}."


Outcomes = Mapping[Wanted, Inlined | Failed]


def edits(sources: Sequence[UrlSource], outcomes: Outcomes) -> list[tuple[int, int, bytes]]:
    """Start, end and new text of each source whose file is here, in the order of `sources`."""
    found = ((source, outcomes[source.wanted]) for source in sources)
    return [(source.start, source.end, one.text) for source, one in found if isinstance(one, Inlined)]


def failures(outcomes: Outcomes) -> list[Failed]:
    """What could not be had, in the order in which it was first named."""
    return [one for one in outcomes.values() if isinstance(one, Failed)]
