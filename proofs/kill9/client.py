"""Clients on threads, and what each of them has seen of its requests."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from proofs.kill9.upstream import SESSION

WEIGHTS = {"json": 5, "stream": 5, "abort": 3, "leave": 1, "upload": 2, "error": 2}
ERRORS = (400, 429, 500, 529)
PAUSE_SECONDS = 0.03
ANSWER_SECONDS = 20.0
UPLOAD = b"x" * 300_000
NOTES = json.dumps({"notes": "x" * 8_000})
"""Goes into both records of an exchange, so that a segment of the journal is full after 1,000 exchanges."""

BODY = json.dumps({"model": "claude-test", "max_tokens": 9, "messages": []}).encode()
STREAMED = BODY[:-1] + b', "stream": true}'

_INPUT = re.compile(rb'"input_tokens": (\d+)\D')  # not a part of the number, where an answer was left
_UPSTREAM_ID = re.compile(r"req_\d+")
_OUTPUT = re.compile(rb'"output_tokens": (\d+)')


class Question(NamedTuple):
    """One request.

    Attributes:
        asked: the status that the upstream was asked for.
        began: when the request was sent, on the monotonic clock.
    """

    kind: str
    session: str
    asked: int
    began: float


class Answer(NamedTuple):
    """What a client has seen of one answer, from its head on.

    Attributes:
        kind, session, asked, began: of the request.
        id: `x-ferryman-request-id`.
        upstream_id: `request-id`, `None` for an answer of the gateway's own.
        input_tokens, output_tokens: as far as they were told.
        whole: it was read to its end.
    """

    kind: str
    session: str
    asked: int
    began: float
    id: str
    upstream_id: str | None
    status: int
    input_tokens: int | None
    output_tokens: int | None
    whole: bool


class Clients:
    """Threads that ask whatever gateway `port` tells of, until `stop`.

    Attributes:
        answers: every answer of which a head has come.
        sent: requests by their kind.
        cut: requests whose answer did not come, or not to its end, through no wish of the client.
        slowest_seconds: until an answer began; the upstream waits 0.2 s at most.
        broken: what a client cannot have seen, whatever is killed.
    """

    def __init__(self, port: Callable[[], int], threads: int, *, notes: str = NOTES) -> None:
        self.answers: list[Answer] = []
        self.sent: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.slowest_seconds = 0.0
        self.sessions: set[str] = set()
        self.broken: list[str] = []
        self._port = port
        self._notes = notes
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=[number], name=f"client {number}")
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish what it is at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        connection: http.client.HTTPConnection | None = None
        while not self._stopping.is_set():
            port = self._port()
            if connection is not None and connection.port != port:
                connection.close()
                connection = None
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
            (kind,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
            session = f"s{next(self._numbers)}"
            with self._lock:
                self.sent[kind] += 1
                self.sessions.add(session)
            try:
                if not self._ask(connection, kind, session, dice):
                    connection.close()
            except ConnectionRefusedError:
                connection.close()
                with self._lock:
                    self.cut["no connection"] += 1
                self._stopping.wait(0.1)
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.cut[kind] += 1
            except Exception as error:  # noqa: BLE001  # told at the end
                self.broken.append(f"a client failed at {kind}: {error!r}")
                return
            self._stopping.wait(dice.random() * 2 * PAUSE_SECONDS)

    def _ask(
        self, connection: http.client.HTTPConnection, kind: str, session: str, dice: random.Random
    ) -> bool:
        """Make one request; whether the connection can be used again."""
        asked = dice.choice(ERRORS) if kind == "error" else 200
        do = {
            "json": f"json {dice.random() * 0.2:.3f}", "leave": "json 0.15", "upload": "sink",
            "error": f"error {asked}",
        }.get(kind, f"stream {dice.randrange(1, 60)}")  # fmt: skip
        path = "/v1/files" if kind == "upload" else "/v1/messages"
        body = UPLOAD if kind == "upload" else STREAMED if kind in {"stream", "abort"} else BODY
        headers = {
            SESSION: session, "x-do": do, "content-type": "application/json",
            "x-ferryman-spend-logs-metadata": self._notes,
        }  # fmt: skip
        question = Question(kind, session, asked, time.monotonic())
        connection.request("POST", path, body, headers)
        if kind == "leave":
            time.sleep(dice.random() * 0.1)
            return False
        response = connection.getresponse()
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - question.began)
        data, whole = b"", False
        try:
            if kind == "abort":
                data = response.read1(dice.randrange(1, 4_000))
            else:
                data, whole = response.read(), True
        except http.client.IncompleteRead as error:
            data = error.partial
            raise
        finally:
            self._note(question, response, data, whole=whole)
        return whole

    def _note(
        self, question: Question, response: http.client.HTTPResponse, data: bytes, *, whole: bool
    ) -> None:
        told = question.kind != "upload" and response.status == 200
        upstream_id = response.headers["request-id"]
        read, written = _INPUT.findall(data), _OUTPUT.findall(data)
        answer = Answer(
            *question,
            response.headers["x-ferryman-request-id"],
            upstream_id if upstream_id is not None and _UPSTREAM_ID.fullmatch(upstream_id) else None,
            response.status,
            int(read[0]) if read and told else None,
            int(written[-1]) if written and whole and told else None,
            whole,
        )
        with self._lock:
            self.answers.append(answer)
