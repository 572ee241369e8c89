"""nginx and haproxy judge upstreams: what they pass on to nobody as a clean answer, we do not either.

Each client asks twice on its connection, so that what a first answer smuggles would be the second.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.support.edge import Connection, Upstream
from tests.support.hostile_answers import ANSWERS
from tests.support.judges import MARK, Answer, answers_in, converse, judge, mark
from tests.test_judges import ferryman

Heard = dict[str, dict[str, bytes]]

NAMES = list(ANSWERS)

LAXER = {
    "field many": "their limits; ours is on the bytes of the head",
    "length tab": "RFC 9110 allows a tab around a value, haproxy too; our own framing goes to the client",
}
"""What a judge has no clean answer for, and we have."""


def script(connection: Connection) -> None:
    """Send the hostile answer that a request names; a good one to what follows it."""
    while True:
        line = connection.request().line
        number = int(line.partition(MARK)[2][:3])
        if b"/next" in line:
            connection.answer(b"next %03d" % number, headers=b"X-Upstream: 1\r\n")
        else:
            connection.send(ANSWERS[NAMES[number]])


def asked(number: int, name: str) -> bytes:
    method = b"HEAD" if name.startswith("head ") else b"GET"
    path = mark(number)
    first = b"%b %b HTTP/1.1\r\nHost: g\r\n\r\n" % (method, path)
    return first + b"GET %b/next HTTP/1.1\r\nHost: g\r\n\r\n" % path


@pytest.fixture(scope="module")
def heard() -> Heard:
    """What a client of each of the three heard for each hostile answer."""
    found: Heard = {}
    inputs = {name: asked(number, name) for number, name in enumerate(NAMES)}
    for who in ("nginx", "haproxy", "ferryman"):
        with ExitStack() as stack:
            upstream = stack.enter_context(Upstream(script))
            if who == "ferryman":
                gateway = stack.enter_context(ferryman(upstream))
                found[who] = converse(("127.0.0.1", gateway.port), inputs)
            else:
                found[who] = converse(stack.enter_context(judge(who, upstream)), inputs)
    return found


def answers_to(name: str, raw: bytes) -> list[Answer]:
    if not name.startswith("head "):
        return answers_in(raw)
    head, _, rest = raw.partition(b"\r\n\r\n")
    return [*answers_in(head + b"\r\n\r\n", bodiless=True), *answers_in(rest)]


def clean(name: str, raw: bytes) -> bool:
    """Whether the client got the upstream's answer, and could take it for whole."""
    answers = answers_to(name, raw)
    return bool(answers) and answers[0].whole and answers[0].relayed


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LAXER])
def test_what_a_judge_does_not_pass_on_is_not_passed_on(heard: Heard, name: str) -> None:
    if not (clean(name, heard["nginx"][name]) and clean(name, heard["haproxy"][name])):
        assert not clean(name, heard["ferryman"][name])


@pytest.mark.parametrize("name", LAXER)
def test_known_laxity_is_still_there(heard: Heard, name: str) -> None:
    assert not (clean(name, heard["nginx"][name]) and clean(name, heard["haproxy"][name]))
    assert clean(name, heard["ferryman"][name])


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_behind_an_answer_reaches_the_next_request(heard: Heard, name: str) -> None:
    raw = heard["ferryman"][name]
    first, *more = answers_to(name, raw)
    assert first.relayed or first.status in {502, 504}
    for second in more:
        assert second.body == b"next %03d" % NAMES.index(name)
    if name != "field split-inside":  # there it is the body, as the upstream's framing says
        assert b"EVIL" not in raw
    else:
        assert not first.whole
