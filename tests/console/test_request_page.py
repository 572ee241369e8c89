"""The page of one request in a real browser, with what was asked and answered."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest

from tests.console.browser import DESKTOP, PHONE, Scheme
from tests.console.conftest import MASTER, Look, Site
from tests.console.test_browser import IMAGES, MAX_SHOT_BYTES, PICTURE
from tests.support.processes import until


def kept_entry(site: Site) -> str:
    """The id of an entry of which both bodies are kept: of a stream that had a text."""
    headers = {"authorization": f"Bearer {MASTER}"}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False) as client:

        def found() -> str | None:
            query: dict[str, Any] = {"page_size": 50, "status_filter": "success"}
            for row in client.get("/spend/logs/v2", params=query).json()["data"]:
                told = client.get(f"/spend/logs/ui/{row['request_id']}").json()
                if len(told["bodies"]) == 2 and told["stream"]:
                    return str(row["request_id"])
            return None

        found_id = until(found, "kept")
    assert found_id is not None
    return found_id


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop-light", "phone-dark"]
)
def test_request_is_shown_with_its_bodies_and_anybody_can_read_them(
    site: Site, look: Look, size: tuple[int, int], scheme: Scheme
) -> None:
    window = look(site, size=size, scheme=scheme)
    page = window.page
    assert window.open(f"/ui/requests/{kept_entry(site)}").status == 200
    assert "What was asked" in window.text()
    assert page.locator("pre").count() == 2
    assert not page.locator("pre").first.is_visible()
    assert window.violations() == []
    for summary in page.get_by_text("Show", exact=True).all():
        summary.focus()
        page.keyboard.press("Enter")
    texts = [one.inner_text() for one in page.locator("pre").all()]
    assert '"messages": [' in texts[0]
    assert '"stop_reason":' in texts[1]
    assert window.violations() == []
    assert not window.is_too_wide()
    assert window.complaints == []


@pytest.mark.slow
def test_the_picture_in_the_documentation_is_there_and_small(site: Site, look: Look) -> None:
    path = IMAGES / "console-request.png"
    if "FERRYMAN_SHOTS" in os.environ:
        window = look(site, size=PICTURE)
        window.open(f"/ui/requests/{kept_entry(site)}")
        window.page.get_by_text("Show", exact=True).first.click()
        window.page.locator("#request-body").scroll_into_view_if_needed()
        window.page.screenshot(path=path)
    assert path.stat().st_size <= MAX_SHOT_BYTES
    assert path.name in (IMAGES.parent / "bodies.md").read_text("utf-8")
