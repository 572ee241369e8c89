"""What `ferryman doctor` says of upstreams, of credentials for them, and of the clock."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from ferryman.clock import SystemClock
from ferryman.doctor.upstream import MAX_SKEW_SECONDS
from tests.conftest import Bench
from tests.support.doctor import KEY, Doctor, doctor_in, saying, told
from tests.support.edge import Connection, Script


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return doctor_in(tmp_path)


@pytest.mark.parametrize(
    ("script", "upstream", "credential"),
    [
        pytest.param(saying(status=403), "ok: ", "problem: the upstream lets", id="403"),
        pytest.param(saying(status=529), "warning: ", "skipped: ", id="busy"),
        pytest.param(saying(status=404), "warning: ", "skipped: ", id="wrong-path"),
        pytest.param(saying(body=b"<html>"), "warning: ", "skipped: ", id="a-page-for-people"),
        pytest.param(
            saying(status=301, more=b"Location: https://elsewhere/\r\n"), "problem: ", "skipped: ", id="moved"
        ),
    ],
)
def test_answer_is_judged(
    doctor: Doctor, line: Bench, script: Script, upstream: str, credential: str
) -> None:
    found = doctor("--upstream-url", line.upstream(script).url)
    assert told(found["upstream"]).startswith(upstream)
    assert told(found["credential"]).startswith(credential)


def test_clients_with_keys_of_their_own_need_none_here(doctor: Doctor, line: Bench) -> None:
    upstream = line.upstream(saying(status=401))
    found = doctor("--upstream-url", upstream.url, env={"ANTHROPIC_API_KEY": ""})
    assert found["upstream"]["state"] == "ok"
    assert found["credential"]["state"] == "skipped"
    assert upstream.requests[0].values(b"x-api-key") == []


def test_upstream_that_takes_names_of_users_needs_no_key(doctor: Doctor, line: Bench) -> None:
    upstream = line.upstream(saying(status=401))
    found = doctor("--native-anthropic", "--upstream-url", upstream.url)
    assert (found["upstream"]["state"], found["credential"]["state"]) == ("ok", "skipped")
    assert upstream.requests[0].values(b"x-api-key") == []


def test_each_upstream_is_asked_with_its_own_key(doctor: Doctor, line: Bench, tmp_path: Path) -> None:
    main, spare, own = line.upstream(saying()), line.upstream(saying(status=401)), line.upstream(saying())
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        gone = taken.getsockname()[1]
    config = tmp_path / "several.yaml"
    config.write_text(
        json.dumps(
            {
                "auth": "keys",
                "upstreams": {
                    "main": {"base_url": main.url, "api_key": KEY},
                    "spare": {
                        "base_url": spare.url,
                        "api_key": "sk-ant-that-of-the-spare",
                        "models": ["a-*"],
                    },
                    "own": {"base_url": own.url, "credential": "client", "models": ["b-*"]},
                    "gone": {"base_url": f"http://127.0.0.1:{gone}", "api_key": "k", "models": ["c-*"]},
                },
            }
        )
    )
    found = doctor("-c", str(config), env={"FERRYMAN_MASTER_KEY": "sk-master"})
    states = {name: found[name]["state"] for name in found if name.startswith(("upstream", "credential"))}
    assert states == {
        "upstream main": "ok",
        "credential main": "ok",
        "upstream spare": "ok",
        "credential spare": "problem",
        "upstream own": "ok",
        "credential own": "skipped",
        "upstream gone": "problem",
        "credential gone": "skipped",
    }
    assert "the `api_key` of `spare`" in found["credential spare"]["advice"]
    assert f"{gone}" in found["upstream gone"]["detail"]
    assert found["clock"]["state"] == "ok"
    asked = [one.requests[0].values(b"x-api-key") for one in (main, spare, own)]
    assert asked == [[KEY.encode()], [b"sk-ant-that-of-the-spare"], []]


@pytest.mark.parametrize(("seconds", "direction"), [(90.0, "behind"), (-90.0, "ahead of")])
def test_clock_that_is_wrong_is_a_problem(
    doctor: Doctor, line: Bench, seconds: float, direction: str
) -> None:
    assert abs(seconds) > MAX_SKEW_SECONDS
    found = doctor("--upstream-url", line.upstream(saying(seconds)).url)
    assert found["clock"]["state"] == "problem"
    assert f"seconds {direction} the upstream's" in found["clock"]["detail"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://no-such-host.invalid", "the name `no-such-host.invalid` does not resolve"),
        ("http://127.0.0.1:1", "connection refused"),
    ],
)
def test_upstream_that_is_not_reached_is_a_problem(doctor: Doctor, url: str, reason: str) -> None:
    found = doctor("--upstream-url", url)
    assert found["upstream"]["state"] == "problem"
    assert reason in found["upstream"]["detail"]
    assert "check `upstream_url`" in found["upstream"]["detail"]
    assert found["credential"]["state"] == found["clock"]["state"] == "skipped"


def test_upstream_that_says_nothing_is_a_problem(doctor: Doctor, line: Bench) -> None:
    def script(connection: Connection) -> None:
        connection.request()

    found = doctor("--upstream-url", line.upstream(script).url)
    assert "closes the connection without an answer" in found["upstream"]["detail"]


def test_certificate_of_an_upstream_that_has_expired_points_at_the_clock(
    doctor: Doctor, line: Bench, tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.fromtimestamp(SystemClock.now(), UTC) - timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=end).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    upstream = line.upstream(saying(), tls=context)
    found = doctor("--upstream-url", upstream.url, "--upstream-ca-file", "ca.pem")
    assert "certificate has expired" in found["upstream"]["detail"]
    assert told(found["clock"]).startswith("warning: this machine's clock says")
