"""All edits of a body at once, through the whole line: every byte outside the edited values stays."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ferryman.aliases import ModelList
from tests.conftest import Bench
from tests.support.fetching import PNG, giving
from tests.support.raw import RawClient, post
from tests.test_edit import ESCAPES, OTHERS, SPACES, spelled

EDITED = frozenset(
    {
        "model",
        "user",
        "metadata",
        "user_id",
        "litellm_metadata",
        "messages",
        "content",
        "tools",
        "tool_choice",
    }
    | {"parallel_tool_calls", "stream", "max_tokens"}
)
USER = '"alice"'
HEADERS = b"x-api-key: alice\r\nanthropic-version: 2023-06-01\r\n"


class Told:
    """A body in pieces: those that stay, and what the edited ones become."""

    def __init__(self, draw: Any, url: str) -> None:
        self._draw = draw
        self._url = url
        self.was_asked = False
        others = draw(OTHERS.map(lambda found: [one for one in found if name_of(one) not in EDITED]))
        pieces: list[tuple[str, str]] = [(one, one) for one in others]
        pieces += (
            self._model() + self._user() + self._metadata() + self._messages() + self._tools() + self._ours()
        )
        self.pieces = draw(st.permutations(pieces))
        padded = [(draw(SPACES) + one, draw(SPACES)) for one, _ in self.pieces]
        text = "{" + ",".join(before + behind for before, behind in padded) + "}"
        self.body = (draw(SPACES) + text + draw(SPACES)).encode()

    def _member(self, name: str, old: str, new: str) -> list[tuple[str, str]]:
        key = self._draw(st.builds(spelled, st.just(name), ESCAPES)) + self._draw(SPACES) + ":"
        key += self._draw(SPACES)
        return [(key + old, key + new if new else "")]

    def _model(self) -> list[tuple[str, str]]:
        old, new = self._draw(
            st.sampled_from([("fast", '"claudeopus4"'), ("Claude_Opus.4", '"claudeopus4"')])
        )
        return self._member("model", self._draw(st.builds(spelled, st.just(old), ESCAPES)), new)

    def _user(self) -> list[tuple[str, str]]:
        olds = st.sampled_from(["", '"bob"', "null", USER, "[1.0e5]"])
        return self._member("user", old, USER) if (old := self._draw(olds)) else []

    def _metadata(self) -> list[tuple[str, str]]:
        olds = {
            "null": '{"user_id":"alice"}',
            '{ "a":1.0e5 , "user_id" :\t"bob"}': '{ "a":1.0e5 , "user_id" :\t"alice"}',
            '{"us\\u0065r_id":{"a":[]} }': '{"us\\u0065r_id":"alice" }',
            "{ }": '{"user_id":"alice" }',
            '{"é":-0}': '{"user_id":"alice","é":-0}',
        }
        old = self._draw(st.sampled_from(["", *olds]))
        return self._member("metadata", old, olds[old]) if old else []

    def _messages(self) -> list[tuple[str, str]]:
        url = self._url.replace("/", "\\/")
        source = f'{{"type" : "url" , "u\\u0072l":"{url}","x":1E-7}}'
        made = base64.b64encode(PNG).decode()
        there = f'{{"type":"base64","media_type":"image/png","data":"{made}"}}'
        times = self._draw(st.integers(0, 3))
        block = '{ "type":"image", "source": %s , "y":[ 1.0 ]}'
        shape = '[ {"role":"user","content":[%s, {"type":"text","text":"\\ud83d\\ude00"}]} ]'
        old, new = (shape % ", ".join([block % one] * times or ['{"a":2.50}']) for one in (source, there))
        return self._member("messages", old, new) if self._draw(st.booleans()) else []

    def _tools(self) -> list[tuple[str, str]]:
        made: list[tuple[str, str]] = []
        if self._draw(st.booleans()):
            kept = '{ "name":"a" , "input_schema":{"x":1.0e5} }'
            old = '{"type":"function", "function":{"name":"b","parameters":{ "maximum" : 1.0 }}}'
            new = '{"name":"b","input_schema":{ "maximum" : 1.0 }}'
            made += self._member("tools", f"[ {kept} , {old}]", f"[ {kept} , {new}]")
        if self._draw(st.booleans()):
            made += self._member("tool_choice", '"required"', '{"type":"any"}')
            if self._draw(st.booleans()):
                made += self._member("parallel_tool_calls", "true", "")
        return made

    def _ours(self) -> list[tuple[str, str]]:
        return self._member("litellm_metadata", '{"tags":[ "a"]}', "") if self._draw(st.booleans()) else []

    def check(self, sent: bytes) -> None:
        """Each piece stands in `sent`, in order; between them are commas, space and what was added."""
        rest, text = "", sent.decode()
        for _, piece in self.pieces:
            if piece:
                between, found, text = text.partition(piece)
                assert found, (piece, sent)
                rest += between
        names = [name_of(piece) for _, piece in self.pieces]
        added = [
            text
            for name, text in (("metadata", '"metadata":{"user_id":"alice"}'), ("user", f'"user":{USER}'))
            if name not in names
        ]
        rest += text
        for one in added:
            assert rest.count(one) == 1
            rest = rest.replace(one, "")
        assert not rest.strip(" \t\r\n,{}")
        kept = [(name_of(piece), piece) for _, piece in self.pieces if piece]
        pairs = json.loads(sent, object_pairs_hook=list)
        assert sorted(key for key, _ in pairs) == sorted(
            [key for key, _ in kept] + [name_of(one) for one in added]
        )


def name_of(member: str) -> str:
    """The key of a member; empty for none."""
    return str(next(iter(json.loads("{" + member + "}")), ""))


def test_all_edits_at_once_leave_every_other_byte(line: Bench, tmp_path: Path) -> None:
    pictures = line.upstream(giving(PNG))
    gateway, upstream = line.pair(
        profile="argo",
        anthropic_api_key=None,
        image_hosts=f"127.0.0.1:{pictures.port}",
        images_directory=tmp_path,
    )
    gateway.tell(models=ModelList(aliases={"fast": "claudeopus4", "claude-opus-4": "claudeopus4"}))
    url = f"{pictures.url}/a.png"

    @limits(max_examples=60)
    @given(st.data(), st.booleans())
    def ask(data: Any, packed: bool) -> None:
        told = Told(data.draw, url)
        headers = HEADERS + b"content-encoding: gzip\r\n" * packed
        answer = client.ask(post(gzip.compress(told.body) if packed else told.body, headers=headers))
        assert answer.status == 200, (told.body, answer.body)
        told.check(upstream.requests.pop().body)

    with RawClient(gateway.port) as client:
        ask()
