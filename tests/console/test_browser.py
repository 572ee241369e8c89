"""Each page in a real browser: full, empty, and when something is wrong; for everybody who looks at it."""

from __future__ import annotations

import pytest

from ferryman.store.access_look import token_of
from tests.console.browser import DESKTOP, PHONE, Scheme
from tests.console.conftest import Look, Site

SESSION = "5e551042-0000-4000-8000-000000000002"

PAGES = {
    "overview": ("/ui", "Spend by day"),
    "sessions": ("/ui/sessions", "5e551042"),
    "session": (f"/ui/sessions/{SESSION}", "agent-explore"),
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
    "models": ("/ui/models", "claude-nightly-9"),
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
    return PAGES[name][0].replace("{key}", token_of(site.made.keys["support-bot"]))


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
