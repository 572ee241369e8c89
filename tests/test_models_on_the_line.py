"""Aliases and lists of models, as a worker goes by them."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.aliases import Model, ModelList, made_of
from ferryman.errors import InvalidRequest
from ferryman.limits.admission import Admission
from ferryman.limits.spec import Limit, Scope
from ferryman.limits.table import CounterTable
from ferryman.limits.windows import Calendar
from ferryman.settings import Settings
from ferryman.wire.model_names import batch_splices, model_splice
from ferryman.wire.splice import spliced
from tests.conftest import KEY, Bench
from tests.support.edge import Upstream, answering
from tests.support.gateway import Gateway
from tests.support.raw import RawClient, RawResponse, get, post
from tests.test_keys_on_the_line import LAPTOP, MASTER, error_of, guarded, spec, with_key

ARGO = [
    Model("claudesonnet45", "Claude Sonnet 4.5", "2025-09-29T00:00:00Z"),
    Model("claudeopus4", "Claude Opus 4"),
]
LIST = ModelList(ARGO, {"fast": "claudesonnet45"}, made_of(ARGO), answers=True)
BATCHES = b"/v1/messages/batches"


def known(line: Bench, told: ModelList = LIST, **options: Any) -> tuple[Gateway, Upstream]:
    gateway, upstream = line.pair(**options)
    gateway.tell(models=told)
    return gateway, upstream


def ask(gateway: Gateway, request: bytes) -> RawResponse:
    with RawClient(gateway.port) as client:
        return client.ask(request)


def test_only_the_bytes_of_the_model_change(line: Bench) -> None:
    gateway, upstream = known(line)
    body = '{ "max_tokens" : 1e1,"model":\t"argo:claude-4.5-\\u0073onnet" , "x":"fast", "ü":"\\u00e9" }'
    answer = ask(gateway, post(body.encode()))
    sent = upstream.requests[0]
    assert sent.body.decode() == body.replace('"argo:claude-4.5-\\u0073onnet"', '"claudesonnet45"')
    assert sent.values(b"content-length") == [b"%d" % len(sent.body)]
    assert answer.values(b"x-ferryman-model") == [b"claudesonnet45"]
    assert answer.values(b"x-ferryman-mutations") == [b"model"]
    assert gateway.entry().model == "claudesonnet45"


@pytest.mark.parametrize("name", ["claudesonnet45", "claude-sonnet-4-20250514"])
def test_a_name_that_is_an_id_or_unknown_leaves_the_body_as_it_came(line: Bench, name: str) -> None:
    gateway, upstream = known(line)
    body = b'{"model": "%b"}' % name.encode()
    answer = ask(gateway, post(body, headers=b"anthropic-version: 2023-06-01\r\n"))
    assert upstream.requests[0].body == body
    assert answer.values(b"x-ferryman-mutations") == [b"none"]


def test_aliases_of_the_settings_hold_before_anything_was_told(line: Bench) -> None:
    gateway, upstream = line.pair(aliases={"fast": "claude-haiku-5-5"})
    ask(gateway, post(b'{"model":"fast"}'))
    ask(gateway, post(b'{"model":"Fast"}', path=b"/anthropic/v1/messages/count_tokens"))
    assert [one.body for one in upstream.requests] == [b'{"model":"claude-haiku-5-5"}'] * 2


def test_a_compressed_body_goes_decoded_if_its_model_is_an_alias(line: Bench) -> None:
    gateway, upstream = known(line)
    packed = gzip.compress(b'{"model":"fast"}')
    ask(gateway, post(packed, headers=b"content-encoding: gzip\r\n"))
    assert upstream.requests[0].body == b'{"model":"claudesonnet45"}'
    assert upstream.requests[0].values(b"content-encoding") == []


def test_a_model_that_stands_twice_is_refused(line: Bench) -> None:
    gateway, upstream = known(line)
    assert error_of(ask(gateway, post(b'{"model":"fast","model":"claudeopus4"}')))[0] == 400
    assert not upstream.requests


def test_our_field_and_the_model_are_edited_together(line: Bench) -> None:
    gateway, upstream = known(line)
    answer = ask(gateway, post(b'{"litellm_metadata":{"tags":["a"]},"model":"fast","max_tokens":1}'))
    assert upstream.requests[0].body == b'{"model":"claudesonnet45","max_tokens":1}'
    assert answer.values(b"x-ferryman-mutations") == [b"model, litellm_metadata"]


def batch(*names: str) -> bytes:
    rows = [{"custom_id": str(n), "params": {"model": name, "max_tokens": 5}} for n, name in enumerate(names)]
    return json.dumps({"requests": rows}).encode()


@pytest.mark.parametrize("number", [1, 120], ids=["at-once", "aside"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_models_within_a_batch_are_resolved_and_priced_as_what_they_are(
    line: Bench, number: int, packed: bool
) -> None:
    told = ModelList([Model("claude-haiku-5-5")], {"fast": "claude-haiku-5-5"})
    upstream = line.upstream(answering(b'{"id":"msgbatch_1","type":"message_batch","results_url":null}'))
    gateway = line.gateway(upstream.url)
    gateway.tell(models=told)
    body = batch(*["fast", "claude-haiku-5-5", "other"] * number)
    headers = b"content-encoding: gzip\r\n" if packed else b""
    answer = ask(gateway, post(gzip.compress(body) if packed else body, path=BATCHES, headers=headers))
    assert answer.status == 200
    assert upstream.requests[0].body == body.replace(b'"fast"', b'"claude-haiku-5-5"')
    assert b"model" in answer.values(b"x-ferryman-mutations")[0]
    made = gateway.entry().batch
    assert made is not None
    assert made.models == {"claude-haiku-5-5": 2 * number, "other": number}


def test_a_batch_without_an_alias_is_not_looked_into(line: Bench) -> None:
    upstream = line.upstream(answering(b'{"id":"msgbatch_1","type":"message_batch"}'))
    gateway = line.gateway(upstream.url)
    gateway.tell(models=LIST)
    body = b'{"requests" :[ {"params":{"model": "claudeopus4"}}]}'
    assert ask(gateway, post(body, path=BATCHES)).status == 200
    assert upstream.requests[0].body == body


@pytest.mark.parametrize("number", [1, 120], ids=["at-once", "aside"])
def test_a_batch_whose_model_is_to_be_changed_and_stands_twice_is_refused(line: Bench, number: int) -> None:
    gateway, upstream = known(line)
    row = b'{"params":{"model":"fast","model":"fast"}}'
    answer = ask(gateway, post(b'{"requests":[' + b",".join([row] * number) + b"]}", path=BATCHES))
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert not upstream.requests


def test_who_leaves_while_a_batch_is_looked_through_leaves_nothing_behind(line: Bench) -> None:
    gateway, upstream = known(line)
    with RawClient(gateway.port) as client:
        client.send(post(batch(*["fast"] * 20_000), path=BATCHES))
    gateway.until(lambda: not gateway.worker.line.live and not gateway.worker.line.held_bytes)
    assert gateway.entry().ended in {"client_gone", "upstream_error", "done"}
    assert len(upstream.requests) <= 1


def test_allow_lists_judge_the_model_that_is_really_asked(line: Bench) -> None:
    gateway, upstream = guarded(line, spec(models=[["claudesonnet45"]], aliases={"mine": "claudeopus4"}))
    gateway.tell([spec(models=[["claudesonnet45"]], aliases={"mine": "claudeopus4"})], models=LIST)
    assert ask(gateway, with_key(b'{"model":"argo:claude-4.5-sonnet"}')).status == 200
    for name in (b"argo:claude-4-opus", b"mine", b"argo/Mine"):
        status, kind, message = error_of(ask(gateway, with_key(b'{"model":"%b"}' % name)))
        assert (status, kind) == (404, "not_found_error")
        assert "`claudeopus4`" in message
    refused = ask(gateway, with_key(batch("fast", "mine"), path=BATCHES))
    assert error_of(refused)[0] == 404
    assert len(upstream.requests) == 1


def test_an_alias_in_an_allow_list_allows_what_it_stands_for(line: Bench) -> None:
    key = spec(models=[["mine"], ["argo:claude-4-opus", "x*"]], aliases={"mine": "claudeopus4"})
    gateway, _ = guarded(line)
    gateway.tell([key], models=LIST)
    assert ask(gateway, with_key(b'{"model":"mine"}')).status == 200
    assert ask(gateway, with_key(b'{"model":"claudeopus4"}')).status == 200
    assert error_of(ask(gateway, with_key(b'{"model":"fast"}')))[0] == 404


def test_aliases_of_keys_hold_for_their_callers_only_and_without_any_list(line: Bench) -> None:
    other = b"sk-desktop-0123456789"
    gateway, upstream = guarded(line, spec(aliases={"best": "claude-opus-5-5"}), spec(other))
    ask(gateway, with_key(b'{"model":"Best"}'))
    ask(gateway, with_key(b'{"model":"Best"}', other))
    assert [one.body for one in upstream.requests] == [b'{"model":"claude-opus-5-5"}', b'{"model":"Best"}']
    gateway.tell([spec()])
    assert gateway.run(lambda: gateway.worker.line.models) is None, "nothing runs where nobody has an alias"


def test_limits_of_a_model_count_its_aliases(line: Bench, tmp_path: Path) -> None:
    table = CounterTable.create(tmp_path / "counters", 1)
    column = table.claim("1-test")
    assert column is not None
    upstream = line.upstream()
    settings = Settings(port=0, upstream_url=upstream.url, anthropic_api_key=KEY, master_key=MASTER)
    gateway = line.enter(Gateway(settings, counters=Admission(table, column, Calendar("UTC"))))
    limit = Limit("requests", 1, table.row_of("a"), model="claudesonnet45")
    gateway.tell([spec(scopes=["key:a"])], [Scope("key:a", "key `a`", [limit])], models=LIST)
    assert ask(gateway, with_key(b'{"model":"fast"}')).status == 200
    assert ask(gateway, with_key(b'{"model":"claudeopus4"}')).status == 200
    assert ask(gateway, with_key(b'{"model":"argo:claude-sonnet-4.5"}')).status == 429


def test_anthropics_client_reads_the_list_page_by_page_and_a_model_by_any_of_its_names(line: Bench) -> None:
    gateway, upstream = known(line)
    client = anthropic.Anthropic(base_url=gateway.url, api_key="ann")
    ids = ["claudesonnet45", "claudeopus4", *LIST.made, "fast"]
    assert [one.id for one in client.models.list(limit=2)] == ids
    page = client.models.list(limit=2, before_id=ids[3])
    assert [one.id for one in page.data] == ids[1:3]
    one = client.models.retrieve("argo:claude-4.5-sonnet")
    assert (one.id, one.display_name, one.type) == ("claudesonnet45", "Claude Sonnet 4.5", "model")
    assert one.created_at.year == 2025
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")
    assert not upstream.requests
    assert gateway.entry().ended == "done"
    assert gateway.entry().path == "/v1/models"


def test_openais_client_reads_the_same_list_in_its_own_shape(line: Bench) -> None:
    gateway, _ = known(line)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="ann")
    found = {one.id: one for one in client.models.list()}
    assert set(found) == {"claudesonnet45", "claudeopus4", *LIST.made, "fast"}
    assert {one.object for one in found.values()} == {"model"}
    assert {one.owned_by for one in found.values()} == {"anthropic"}
    assert found["claudesonnet45"].created == 1759104000
    assert client.models.retrieve("fast").id == "claudesonnet45"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_claude_codes_discovery_finds_names_without_telling_a_version(line: Bench) -> None:
    gateway, _ = known(line)
    answer = ask(gateway, get(b"/v1/models?limit=1000", headers=b"x-api-key: ann\r\n"))
    rows = json.loads(answer.body)["data"]
    assert ("claudesonnet45", "Claude Sonnet 4.5") in {(row["id"], row["display_name"]) for row in rows}


def test_the_list_keeps_what_the_upstream_says_of_a_model(line: Bench) -> None:
    row = b'{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2026-01-01","new":[1]}'
    told = ModelList([Model("claude-x", "Claude X", data=msgspec.Raw(row))], {"x": "claude-x"}, answers=True)
    gateway, _ = known(line, told)
    answer = ask(gateway, get(headers=b"anthropic-version: 2023-06-01\r\n"))
    data = json.loads(answer.body)["data"]
    assert data == [json.loads(row), json.loads(row) | {"id": "x"}]


def test_a_key_sees_the_models_that_it_may_ask_for(line: Bench) -> None:
    gateway, _ = guarded(line)
    gateway.tell([spec(models=[["*opus*"]], aliases={"mine": "claude-4-opus"})], models=LIST)
    answer = ask(gateway, get(headers=b"anthropic-version: 2023-06-01\r\nx-api-key: " + LAPTOP + b"\r\n"))
    ids = [row["id"] for row in json.loads(answer.body)["data"]]
    assert ids == ["claudeopus4", "argo:claude-opus-4", "argo:claude-4-opus", "mine"]
    one = ask(gateway, get(b"/v1/models/fast", headers=b"x-api-key: " + LAPTOP + b"\r\n"))
    assert error_of(one)[0] == 404
    assert error_of(ask(gateway, get()))[0] == 401


@pytest.mark.parametrize(
    "path",
    [b"/anthropic/v1/models", b"/anthropic/v1/models/fast", b"/v1/models/a/", b"/v1/modelsx"],
)
def test_the_plain_relay_stays_one(line: Bench, path: bytes) -> None:
    gateway, upstream = known(line)
    ask(gateway, get(path))
    assert len(upstream.requests) == (path != b"/v1/models/a/")


def test_without_a_list_models_are_asked_of_the_upstream(line: Bench) -> None:
    gateway, upstream = line.pair(aliases={"fast": "claude-haiku-5-5"})
    assert ask(gateway, get()).body == b'{"ok":true}'
    ask(gateway, get(b"/v1/models/fast"))
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=1001",
        b"limit=x",
        b"after_id=nobody",
        b"before_id=nobody",
        b"after_id=fast&before_id=fast",
    ],
)
def test_a_page_that_is_not_there_is_refused_by_name(line: Bench, query: bytes) -> None:
    gateway, _ = known(line)
    status, _, message = error_of(ask(gateway, get(b"/v1/models?" + query)))
    assert status == 400
    assert (
        message.startswith((b"%b:" % query.partition(b"=")[0]).decode()) or "after_id, before_id" in message
    )


def test_a_query_of_very_many_parameters_is_refused(line: Bench) -> None:
    gateway, _ = known(line)
    assert error_of(ask(gateway, get(b"/v1/models?" + b"&".join([b"a=1"] * 101))))[0] == 400


def test_a_list_costs_no_more_for_a_key_with_many_models(line: Bench) -> None:
    many = [Model(f"claude-opus-{n}", f"Claude Opus {n}") for n in range(1_000)]
    gateway, _ = line.pair(master_key=MASTER)
    names = [f"claude-sonnet-{n}" for n in range(100)]

    def cost_seconds(models: list[str]) -> float:
        gateway.tell([spec(models=[models])], models=ModelList(many, {}, made_of(many), answers=True))
        began = time.process_time()
        answer = ask(gateway, get(headers=b"x-api-key: " + LAPTOP + b"\r\n"))
        assert json.loads(answer.body)["data"] == []
        return time.process_time() - began

    assert cost_seconds(names) < 10 * cost_seconds(names[:1])


def test_a_name_that_is_too_long_for_a_list_is_in_none(line: Bench) -> None:
    gateway, upstream = line.pair(master_key=MASTER)
    gateway.tell([spec(models=[["claude-*"]])], models=LIST)
    body = b'{"model":"claude-%b"}' % (b"x" * 300)
    assert error_of(ask(gateway, with_key(body)))[0] == 404
    assert not upstream.requests


def test_head_has_the_length_and_no_body(line: Bench) -> None:
    gateway, _ = known(line)
    with RawClient(gateway.port) as client:
        head = client.ask(get(method=b"HEAD"), head_only=True)
        whole = client.ask(get())
    assert head.values(b"content-length") == [b"%d" % len(whole.body)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
SPACE = st.sampled_from(["", " ", "\n\t"])


@given(
    st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.text(max_size=8), st.text(max_size=8), SPACE
)
def test_every_byte_outside_the_name_stays(others: dict[str, Any], old: str, new: str, space: str) -> None:
    others.pop("model", None)
    rest = "".join(f",{space}{json.dumps(key)}:{space}{json.dumps(value)}" for key, value in others.items())
    head, tail = f'{{{space}"mod\\u0065l"{space}:{space}', f"{space}{rest}}}"
    body = f"{head}{json.dumps(old)}{tail}".encode()
    assert (
        spliced(body, [model_splice(body, new)]).decode()
        == f"{head}{json.dumps(new, ensure_ascii=False)}{tail}"
    )
    inner = f'{{"custom_id":"a","params":{body.decode()}}}'
    rows = f'{{"a":1,"requests":[{inner},{space}{{"params":null}},7,{inner}]}}'.encode()
    splices = list(batch_splices(rows, {old: new}))
    assert [splice is None for splice in splices] == [False, True, True, False]
    told = spliced(rows, [splice for splice in splices if splice is not None])
    assert told == rows.replace(body, spliced(body, [model_splice(body, new)]))


def test_a_batch_with_two_lists_of_requests_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="requests"):
        list(batch_splices(b'{"requests":[],"requests":[]}', {"a": "b"}))
