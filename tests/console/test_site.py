"""Who gets into the console, what each may see and do there, and what every answer of it has."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from ferryman.console.pages import every_page
from ferryman.console.pages.sessions import MAX_REQUESTS, MAX_ROWS
from ferryman.console.session import COOKIE, IDLE_SECONDS, MOST_SECONDS
from ferryman.console.site import HEADERS
from ferryman.console.throttle import MAX_OF_ADDRESS, WINDOW_SECONDS
from tests.console.visitor import Visitor, foreseen, held
from tests.support.control import MASTER, Control
from tests.support.processes import until
from tests.support.stores import entry


def test_whoever_has_not_signed_in_is_sent_to_the_sign_in(visitor: Visitor) -> None:
    for path in ("/ui", "/ui/keys", "/ui/requests.csv", "/ui/nowhere"):
        response = visitor.get(path)
        assert response.status_code == 303
        assert response.headers["location"].startswith("/ui/sign-in?next=%2Fui")
    part = visitor.get("/ui", headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"], part.text) == (200, "/ui/sign-in", "")


def test_the_master_key_opens_it_and_leads_to_the_page_that_was_wanted(visitor: Visitor) -> None:
    response = visitor.sign_in(next="/ui/keys")
    assert (response.status_code, response.headers["location"]) == (303, "/ui/keys")
    cookie = next(one for one in response.headers.get_list("set-cookie") if one.startswith(COOKIE))
    assert {"HttpOnly", "SameSite=strict", "Path=/ui"} <= set(cookie.split("; "))
    assert MASTER not in cookie
    assert visitor.get("/ui/keys").status_code == 200
    assert visitor.get("/ui/sign-in").headers["location"] == "/ui"


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/ui//evil.example", "/ui/\\evil"]
)
def test_no_link_leads_from_the_sign_in_to_elsewhere(visitor: Visitor, wanted: str) -> None:
    assert visitor.sign_in(next=wanted).headers["location"] == "/ui"


def test_the_cookie_is_for_tls_alone_where_there_is_tls(lone: Control, visitor: Visitor) -> None:
    public = lone.settings.__class__(master_key=MASTER, public_url="https://gateway.example")
    lone.console._backing = lone.console._backing._replace(settings=public)
    (cookie,) = visitor.get("/ui/sign-in").headers.get_list("set-cookie")
    assert "Secure" in cookie.split("; ")


def test_wrong_keys_are_refused_and_then_not_looked_at_for_a_while(lone: Control, visitor: Visitor) -> None:
    for _ in range(MAX_OF_ADDRESS):
        response = visitor.sign_in("sk-wrong-key-of-nobody")
        assert response.status_code == 401
        assert "neither the master key nor a virtual key" in response.text
        assert "sk-wrong" not in response.text
    refused = visitor.sign_in(MASTER)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_SECONDS + 1
    held(lone).seconds += WINDOW_SECONDS + 1
    assert visitor.sign_in(MASTER).status_code == 303


def test_a_sign_in_needs_the_form_of_this_browser(visitor: Visitor) -> None:
    assert visitor.http.post("/ui/sign-in", data={"key": MASTER}).status_code == 403
    fields = {"key": MASTER, "form_token": "0" * 64}
    assert visitor.http.post("/ui/sign-in", data=fields).status_code == 403
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert (
        visitor.post("/ui/sign-in", {"key": MASTER}, page="/ui/sign-in", headers=elsewhere).status_code == 403
    )


def test_a_session_ends_when_nothing_is_asked_and_at_last_anyway(lone: Control, visitor: Visitor) -> None:
    visitor.sign_in()
    for _ in range(MOST_SECONDS // (IDLE_SECONDS - 60)):
        held(lone).seconds += IDLE_SECONDS - 60
        assert visitor.get("/ui/keys").status_code == 200  # which makes the cookie anew
    held(lone).seconds += IDLE_SECONDS - 60
    assert visitor.get("/ui/keys").status_code == 303
    visitor.sign_in()
    held(lone).seconds += IDLE_SECONDS
    assert visitor.get("/ui/keys").status_code == 303


def test_signing_out_ends_the_session_for_whoever_has_kept_the_cookie(visitor: Visitor) -> None:
    visitor.sign_in()
    kept = visitor.http.cookies[COOKIE]
    assert visitor.post("/ui/sign-out", page="/ui/keys").status_code == 303
    assert COOKIE not in visitor.http.cookies
    assert visitor.get("/ui/keys", headers={"cookie": f"{COOKIE}={kept}"}).status_code == 303


@pytest.mark.parametrize("change", ["", "x", "x.y", ".", "ä.ö"])
def test_no_cookie_but_ours_opens_it(visitor: Visitor, change: str) -> None:
    visitor.sign_in()
    body, _, mac = visitor.http.cookies[COOKIE].partition(".")
    for forged in (change, f"{body}.{mac[:-1]}{'0' if mac[-1] != '0' else '1'}", f"A{body}.{mac}"):
        raw = f"{COOKIE}={forged}".encode()
        answer = httpx.get(f"{visitor.http.base_url}/ui/keys", headers=[(b"cookie", raw)], trust_env=False)
        assert answer.status_code == 303


def test_a_form_without_the_token_of_the_session_changes_nothing(lone: Control, visitor: Visitor) -> None:
    visitor.sign_in()
    fields = {"key_alias": "forged"}
    assert visitor.http.post("/ui/keys/new", data=fields).status_code == 403
    assert visitor.http.post("/ui/keys/new", data={**fields, "form_token": "f" * 64}).status_code == 403
    crossed = {"sec-fetch-site": "same-site"}
    assert visitor.post("/ui/keys/new", fields, page="/ui/keys/new", headers=crossed).status_code == 403
    as_json = visitor.http.post("/ui/keys/new", json=fields)
    assert as_json.status_code == 400
    assert lone.get("/key/list")["total_count"] == 0


def test_every_answer_has_the_policy_and_no_page_has_script_or_style_in_it(visitor: Visitor) -> None:
    answers = [visitor.get("/ui/sign-in"), visitor.get("/ui"), visitor.get("/ui/static/nothing.js")]
    visitor.sign_in()
    paths = ("/ui", "/ui/keys", "/ui/requests", "/ui/models", "/ui/health", "/ui/setup", "/ui/nowhere")
    answers += [visitor.get(path) for path in paths]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        for inline in ("<style", " style=", " onclick=", "javascript:", "hx-on"):
            assert inline not in answer.text
        assert not re.search(r"<script(?! src)", answer.text)
    asset = re.search(r'src="(/ui/static/console[^"]+)"', answers[3].text)
    assert asset is not None
    served = visitor.get(asset[1])
    assert (served.status_code, served.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in served.headers["cache-control"]


def test_what_clients_choose_is_text_on_every_page(lone: Control, visitor: Visitor) -> None:
    evil = '"><script>alert(1)</script>'
    lone.store.write.insert_entries(
        [
            entry(
                1,
                model=evil,
                end_user=evil,
                session_id=evil,
                agent_type=evil,
                error=evil,
                tags=[evil],
                principal=evil,
            )
        ]
    )
    lone.post("/key/generate", {"key_alias": evil, "user_id": evil, "tags": [evil]})
    lone.post("/team/new", {"team_id": evil, "team_alias": evil})
    visitor.sign_in()
    id_ = entry(1, model=evil).id
    paths = [
        "/ui",
        "/ui/sessions",
        "/ui/requests",
        f"/ui/requests/{id_}",
        "/ui/keys",
        "/ui/teams",
        "/ui/users",
    ]
    paths += ["/ui/audit", f"/ui/requests?model={evil}", "/ui/keys/new?key_alias=" + evil, "/ui?done=" + evil]
    for path in paths:
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        assert "<script>" not in answer.text, path
    assert "&lt;script&gt;" in visitor.get("/ui/requests").text


def test_the_key_of_a_user_sees_its_own_and_no_more(lone: Control, visitor: Visitor) -> None:
    own = lone.post("/key/generate", {"key_alias": "ann-laptop", "user_id": "ann"})
    second = lone.post("/key/generate", {"key_alias": "ann-ci", "user_id": "ann"})
    other = lone.post("/key/generate", {"key_alias": "ben-laptop", "user_id": "ben"})
    owners = [own["token"], second["token"], other["token"]]
    made = [
        entry(number, principal=token, session_id=f"session-{number}", model=f"claude-of-{number}")
        for number, token in enumerate(owners)
    ]
    lone.store.write.insert_entries(made)
    visitor.sign_in(own["key"])
    assert "ben-laptop" not in visitor.get("/ui/keys").text
    for path in ("/ui", "/ui/sessions", "/ui/requests", "/ui/requests?principal=" + other["token"]):
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        assert "session-2" not in answer.text
        assert "claude-of-2" not in answer.text
    assert "claude-of-1" in visitor.get("/ui/requests?principal=" + second["token"]).text
    assert "claude-of-2" not in visitor.get("/ui/requests.csv?principal=" + other["token"]).text
    assert visitor.get(f"/ui/requests/{made[0].id}").status_code == 200
    for path in (f"/ui/requests/{made[2].id}", "/ui/sessions/session-2"):
        assert visitor.get(path).status_code == 404
    assert visitor.get(f"/ui/keys/{other['token']}").status_code in {403, 404}
    for path in ("teams", "users", "budgets", "audit", "models", "health", "keys/new"):
        assert visitor.get(f"/ui/{path}").status_code == 403
    for deed in ("", "/block", "/reset", "/delete"):
        assert visitor.post(f"/ui/keys/{own['token']}{deed}", page="/ui/keys").status_code == 403
    assert visitor.post(f"/ui/keys/{other['token']}/rotate", page="/ui/keys").status_code in {403, 404}


def test_a_new_text_of_the_key_ends_the_session_that_the_old_one_began(
    lone: Control, visitor: Visitor
) -> None:
    key = lone.post("/key/generate", {"user_id": "ann"})
    visitor.sign_in(key["key"])
    answer = visitor.post(f"/ui/keys/{key['token']}/rotate", page="/ui/keys")
    assert answer.status_code == 200
    assert re.search(r'id="secret">sk-[\w-]+<', answer.text)
    assert visitor.get("/ui").status_code == 303


def test_a_blocked_key_is_signed_out(lone: Control, visitor: Visitor) -> None:
    key = lone.post("/key/generate", {"user_id": "ann"})
    visitor.sign_in(key["key"])
    lone.post("/key/block", {"key": key["token"]})
    assert visitor.get("/ui").status_code == 303


def test_who_sees_all_and_changes_nothing_is_held_to_it(lone: Control, visitor: Visitor) -> None:
    lone.post("/user/new", {"user_id": "eve", "user_role": "proxy_admin_viewer", "auto_create_key": False})
    key = lone.post("/key/generate", {"user_id": "eve", "key_alias": "eve"})
    visitor.sign_in(key["key"])
    for path in ("", "/keys", "/teams", "/users", "/audit", "/models", "/health", "/requests", "/sessions"):
        assert visitor.get(f"/ui{path}").status_code == 200
    assert "Create a key" not in visitor.get("/ui/keys").text
    assert visitor.post("/ui/keys/new", {"key_alias": "more"}, page="/ui/keys").status_code == 403
    assert visitor.post("/ui/teams/new", {"team_id": "more"}, page="/ui/keys").status_code == 403
    assert visitor.post("/ui/models/reprice", {"model": "m"}, page="/ui/keys").status_code == 403
    assert lone.get("/key/list")["total_count"] == 1


def test_every_page_stands_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "console.md").read_text("utf-8")
    told = {re.sub(r"\{\w+\}", "{}", path) for path in re.findall(r"`(/ui[^`]*)`", text)}
    shown = {re.sub(r"\{[^}]+\}", "{}", page.path) for page in every_page() if page.method == "GET"}
    deeds = {"/ui/requests.csv", *(path for path in shown if path.endswith("/new"))}
    below = {f"/ui/{kind}/{{}}" for kind in ("teams", "users", "budgets")}
    assert shown - deeds - below == told


def test_every_page_is_whole(lone: Control, visitor: Visitor) -> None:
    """Every element that is opened is closed, and no id is there twice."""
    visitor.sign_in()
    for path in ("/ui", "/ui/keys/new", "/ui/requests", "/ui/models", "/ui/health", "/ui/setup"):
        checker = Checker()
        checker.feed(visitor.get(path).text)
        assert checker.open == [], path
        assert len(checker.ids) == len(set(checker.ids)), path


class Checker(HTMLParser):
    """Notes elements that are open."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing stays open."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def test_page_of_a_very_long_session_tells_of_its_latest_requests_and_leads_to_those_before(
    lone: Control, visitor: Visitor
) -> None:
    made = [entry(number, session_id="long") for number in range(2 * MAX_REQUESTS + 1)]
    lone.store.write.insert_entries(made)
    visitor.sign_in()
    path, shown = "/ui/sessions/long", []
    while path:
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert "more requests than are shown" in answer.text
        shown.append(re.findall(r'/ui/requests/([-0-9a-f]{36})"', answer.text))
        found = re.search(r'href="([^"]+)" rel="next"', answer.text)
        path = "" if found is None else found[1]
    ids = [one.id for one in reversed(made)]
    parts = [ids[start : start + MAX_ROWS] for start in (0, MAX_REQUESTS, 2 * MAX_REQUESTS)]
    assert shown == parts, "the list has the latest of each page"
    assert "1,001" in visitor.get("/ui/sessions").text, "all are added up in the list"
    for nobody in ("short", "%00"):
        assert visitor.get(f"/ui/sessions/{nobody}").status_code == 404
    assert visitor.get("/ui/sessions/long?before=x").status_code == 400
    answer = visitor.get("/ui/sessions/long?before=0")
    assert (answer.status_code, 'rel="next"' in answer.text) == (200, False)
    assert "no requests before" in answer.text


def test_of_a_session_that_several_share_a_user_sees_what_came_with_own_keys(
    lone: Control, visitor: Visitor
) -> None:
    keys = [lone.post("/key/generate", {"user_id": user}) for user in ("ann", "ann", "ben")]
    made = [
        entry(number, session_id="shared", principal=keys[number % 3]["token"]) for number in range(30)
    ] + [entry(number, session_id="one", principal=keys[number % 2 * 2]["token"]) for number in (30, 31)]
    lone.store.write.insert_entries(made)
    visitor.sign_in(keys[0]["key"])
    for session, numbers in (("shared", [n for n in range(30) if n % 3 < 2]), ("one", [30])):
        text = visitor.get(f"/ui/sessions/{session}").text
        assert {one.id for one in made if one.id in text} == {made[number].id for number in numbers}


def test_own_requests_of_a_session_are_found_however_many_others_made_around_them(
    lone: Control, visitor: Visitor
) -> None:
    first, second, other = (lone.post("/key/generate", {"user_id": user}) for user in ("ann", "ann", "ben"))
    who = {0: first, 1_500: second}
    made = [
        entry(number, session_id="constant", principal=who.get(number, other)["token"])
        for number in range(3_000)
    ]
    lone.store.write.insert_entries(made)
    lone.store.read.walk_seconds = 0.0  # an hour or few at a time
    visitor.sign_in(first["key"])
    path, shown = "/ui/sessions/constant", []
    while path:
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        shown.append([number for number, one in enumerate(made) if one.id in answer.text])
        found = re.search(r'href="([^"]+)" rel="next"', answer.text)
        path = "" if found is None else found[1]
    assert shown[0] == [1_500]
    assert [number for page in shown for number in page] == [1_500, 0]
    assert [] in shown, "there was a page that leads further"


def test_past_of_a_user_is_remembered_once_however_many_keys_there_are(
    lone: Control, visitor: Visitor
) -> None:
    keys = [lone.post("/key/generate", {"user_id": "ann"}) for _ in range(30)]
    lone.store.write.insert_entries(
        [entry(number, principal=key["token"]) for number, key in enumerate(keys)]
    )
    visitor.get("/ui/sign-in")
    foreseen(lone)
    visitor.sign_in(keys[0]["key"])
    assert visitor.get("/ui").status_code == 200
    assert repr(lone.console._past) == "<Past 6 answers>"
    day = entry(0).started_at.date()
    tokens = [key["token"] for key in keys[:20]]
    for found in (
        lone.store.read.sums(day, day, by=(), equal={"principal": tokens}),
        lone.store.read.ranked(day, day, {"model": 5}, equal={"principal": tokens}),
    ):
        assert sum(one.requests for one in found) == 20


def test_session_of_agents_that_start_each_other_without_end_is_shown(
    lone: Control, visitor: Visitor
) -> None:
    made = [
        entry(number, session_id="deep", agent_id=f"a{number}", parent_agent_id=f"a{number - 1}")
        for number in range(MAX_REQUESTS)
    ]
    lone.store.write.insert_entries(made)
    visitor.sign_in()
    answer = visitor.get("/ui/sessions/deep")
    assert answer.status_code == 200
    assert f"a{MAX_REQUESTS - 1}" in answer.text
    listed = visitor.get("/ui/sessions").text
    assert "Sums are of the whole session" in listed


def test_first_answer_makes_ready_what_the_next_pages_need(lone: Control, visitor: Visitor) -> None:
    visitor.get("/ui/sign-in")
    until(lambda: re.search(r"<Renderer (\d+) of \1 templates ready>", repr(lone.console._renderer)))
    foreseen(lone)
