"""Each page in a real browser: full, empty, and when something is wrong; for everybody who looks at it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from ferryman.store.access_look import token_of
from tests.console.browser import DESKTOP, PHONE, Scheme, Window
from tests.console.conftest import MASTER, Look, Site, serve

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"

PAGES = {
    "overview": ("/ui", "Spend by day"),
    "sessions": ("/ui/sessions", "ann-laptop"),
    "session": ("/ui/sessions/{session}", "agent-explore"),
    "requests": ("/ui/requests", "claude-haiku-5-5"),
    "keys": ("/ui/keys", "support-bot"),
    "key-new": ("/ui/keys/new", "Budget in dollars"),
    "key": ("/ui/keys/{key}", "Made anew"),
    "teams": ("/ui/teams", "Platform"),
    "team": ("/ui/teams/platform", "Members"),
    "users": ("/ui/users", "ann@example.org"),
    "user": ("/ui/users/ann", "ann-laptop"),
    "user-new": ("/ui/users/new", "E-mail address"),
    "budgets": ("/ui/budgets", "interns"),
    "budget": ("/ui/budgets/interns", "Requests a minute"),
    "audit": ("/ui/audit", "create key"),
    "models": ("/ui/models", "key intern"),
    "setup": ("/ui/setup", "ANTHROPIC_BASE_URL"),
    "health": ("/ui/health", "worker 1"),
}
EMPTY = {
    "/ui": "No request has come yet",
    "/ui/sessions": "No sessions yet",
    "/ui/requests": "No requests yet",
    "/ui/keys": "No keys yet",
    "/ui/teams": "No teams yet",
    "/ui/users": "No users yet",
    "/ui/budgets": "No budgets yet",
    "/ui/audit": "No changes yet",
}

each_page = pytest.mark.parametrize("name", PAGES)
each_look = pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop-light", "phone-dark"]
)


def path_of(site: Site, name: str) -> str:
    key = token_of(site.made.keys["support-bot"])
    return PAGES[name][0].replace("{key}", key).replace("{session}", site.made.sessions[2])


@pytest.mark.slow
@pytest.mark.timeout(120)
@each_look
def test_every_page_shows_what_there_is_and_anybody_can_use_it(
    site: Site, look: Look, size: tuple[int, int], scheme: Scheme
) -> None:
    window = look(site, size=size, scheme=scheme)
    wrong = []
    for name in PAGES:
        response = window.open(path_of(site, name))
        assert response.status == 200, name
        assert PAGES[name][1] in window.text(), name
        if window.is_too_wide():
            wrong.append(f"{name}: wider than the screen")
        wrong += [f"{name}: {one}" for one in window.violations()]
    assert not wrong, "\n".join(wrong)
    assert window.complaints == []


@pytest.mark.slow
def test_pages_with_nothing_on_them_say_what_to_do(bare: Site, look: Look) -> None:
    window = look(bare)
    for path, told in EMPTY.items():
        assert window.open(path).status == 200
        assert told in window.text()
        assert window.violations() == []
    assert window.complaints == []


def ask_as_claude_code(url: str, key: str, session: str) -> None:
    """A request as Claude Code sends it."""
    headers = {
        "authorization": f"Bearer {key}",
        "anthropic-version": "2023-06-01",
        "x-claude-code-session-id": session,
        "x-simulator": 'usage={"input_tokens":1000,"output_tokens":2000}',
    }
    body = {"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(f"{url}/v1/messages?beta=true", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_newcomer_makes_a_key_uses_it_and_finds_the_session_and_its_cost(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as stack:
        url = serve(stack, tmp_path_factory.mktemp("newcomer")).url
        window = Window(browser, url)
        stack.callback(window.close)
        page = window.page
        window.sign_in(MASTER)
        page.get_by_role("link", name="Create a key").click()
        page.get_by_label("Name").fill("my-laptop")
        page.get_by_label("Budget in dollars").fill("5")
        page.get_by_role("button", name="Create the key").click()
        key = page.locator("#secret").inner_text()
        shown = page.locator("#s-code").inner_text()
        assert shown.splitlines()[:2] == [
            f"export ANTHROPIC_BASE_URL={url}",
            f"export ANTHROPIC_AUTH_TOKEN={key}",
        ]
        assert window.violations() == []
        page.get_by_text("Python", exact=True).click()
        assert f'base_url="{url}"' in page.locator("#s-python").inner_text()
        page.get_by_role("link", name="Watch its requests").click()
        assert "No request like this" in window.text()
        ask_as_claude_code(url, key, "my-session-1")
        page.get_by_text("claude-sonnet-5-5").wait_for()  # by itself, since it is live
        page.get_by_role("link", name="Sessions").click()
        page.get_by_role("link", name="my-sessi").click()
        assert "$0.022" in window.text()
        page.get_by_role("link", name="Keys").click()
        page.get_by_role("link", name="my-laptop").click()
        assert "of $5.00" in window.text()
        page.get_by_role("link", name="Overview").click()
        requests = page.locator(".figure", has_text="Requests").locator("dd").first
        assert requests.inner_text() == "1"
        ask_as_claude_code(url, key, "my-session-1")
        page.wait_for_function(LAST_BAR, arg=0.04)  # by itself, too
        assert requests.inner_text() == "2"
        assert window.complaints == []


@pytest.mark.slow
def test_a_key_is_blocked_after_a_question_and_the_keyboard_is_enough(site: Site, look: Look) -> None:
    window = look(site)
    page = window.page
    window.open(f"/ui/keys/{token_of(site.made.keys['intern'])}")
    page.get_by_role("button", name="Block").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert "Block this key?" in dialog.inner_text()
    assert window.violations() == []
    page.keyboard.press("Escape")
    assert page.get_by_text("active").is_visible()
    page.get_by_role("button", name="Block").press("Enter")
    dialog.get_by_role("button", name="Block").press("Enter")
    page.get_by_text("Blocked. Nothing goes through any more.").wait_for()
    page.get_by_role("button", name="Unblock").click()
    page.get_by_text("Unblocked. Requests go through again.").wait_for()
    assert window.complaints == []


@pytest.mark.slow
def test_a_list_is_filtered_as_one_types_and_the_theme_stays_as_chosen(site: Site, look: Look) -> None:
    window = look(site)
    page = window.page
    window.open("/ui/keys")
    page.keyboard.press("/")
    page.keyboard.type("chidi")
    assert page.locator("#list tbody tr:visible").count() == 1
    page.get_by_role("button", name="Light / dark").click()
    window.open("/ui")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert window.violations() == []
    page.locator(".u-over").hover()
    assert page.locator(".chart .tip").is_visible()
    assert window.complaints == []


@pytest.mark.slow
def test_an_error_of_a_form_and_of_a_page_can_be_read_by_anybody(site: Site, look: Look) -> None:
    window = look(site)
    page = window.page
    window.open("/ui/keys/new")
    page.get_by_label("Name").fill("intern")
    page.get_by_role("button", name="Create the key").click()
    assert "another key has this alias already" in page.get_by_role("alert").inner_text()
    assert window.violations() == []
    for path in ("/ui/keys/none", "/ui/sessions/none", "/ui/requests/none", "/ui/nowhere", "/ui/teams/none"):
        assert window.open(path).status == 404
        assert page.get_by_role("alert").is_visible()
        assert window.violations() == []
    window.open("/ui/requests?start_date=never")
    assert "`start_date`" in page.get_by_role("alert").inner_text()
    assert window.violations() == []


@pytest.mark.slow
def test_the_sign_in_and_its_refusal_can_be_used_by_anybody(site: Site, browser: Browser) -> None:
    window = Window(browser, site.url, PHONE, "dark")
    try:
        window.open("/ui/sign-in")
        assert window.violations() == []
        window.page.get_by_label("Key").fill("sk-nobody-has-this-key")
        window.page.keyboard.press("Enter")
        window.page.get_by_role("alert").wait_for()
        assert window.violations() == []
        assert not window.is_too_wide()
    finally:
        window.close()


@pytest.mark.slow
def test_the_key_of_a_user_walks_its_pages(site: Site, look: Look) -> None:
    window = look(site, key=site.made.keys["ann-laptop"])
    for path in ("/ui", "/ui/sessions", "/ui/requests", "/ui/keys", "/ui/setup"):
        assert window.open(path).status == 200
        assert window.violations() == []
    assert window.open("/ui/teams").status == 403
    assert "This page is for administrators" in window.text()
    assert window.complaints == []


PICTURE = (1120, 660)
SHOTS: dict[str, tuple[str, tuple[int, int], Scheme]] = {
    "overview": ("overview", PICTURE, "light"),
    "overview-dark": ("overview", PICTURE, "dark"),
    "session": ("session", PICTURE, "light"),
    "requests": ("requests", PICTURE, "light"),
    "keys": ("keys", PICTURE, "light"),
    "key-phone": ("key", PHONE, "dark"),
    "models": ("models", PICTURE, "light"),
}
"""Pictures in the documentation; with FERRYMAN_SHOTS set they are taken anew."""

LAST_BAR = """least => {
  const told = JSON.parse(document.querySelector("[data-chart]").dataset.chart);
  return told.series[0].values.at(-1) > least;
}"""
"""Whether the last day of the chart has cost more than so many dollars."""

MAX_SHOT_BYTES = 170_000


@pytest.mark.slow
def test_the_pictures_in_the_documentation_are_there_and_small(site: Site, look: Look) -> None:
    for name, (page, size, scheme) in SHOTS.items():
        path = IMAGES / f"console-{name}.png"
        if "FERRYMAN_SHOTS" in os.environ:
            window = look(site, size=size, scheme=scheme)
            window.open(path_of(site, page))
            window.page.wait_for_load_state("networkidle")
            window.page.screenshot(path=path)
        assert path.stat().st_size <= MAX_SHOT_BYTES
        assert path.name in (IMAGES.parent / "console.md").read_text("utf-8")
