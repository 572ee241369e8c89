"""The console as a whole: its paths, who is let in, and what every answer has."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property, partial
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ferryman.console.assets import Assets
from ferryman.console.figures import Figures, Past
from ferryman.console.pages import every_page
from ferryman.console.pages.overview import foresee
from ferryman.console.render import Renderer
from ferryman.console.session import COOKIE, ENTRY_COOKIE, MOST_SECONDS, RENEW_SECONDS, Session, Signer
from ferryman.console.throttle import Throttle
from ferryman.console.visit import Backing, Page, Visit, address_of, form_of, html
from ferryman.control.asking import Asking
from ferryman.control.callers import CONSOLE_PATH, MASTER, Caller, shown_path
from ferryman.errors import (
    InternalError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RelayError,
    StoreError,
)
from ferryman.store.access_look import token_of
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.console")

SIGN_IN = f"{CONSOLE_PATH}/sign-in"

ENTRY_SECONDS = 900
"""How long a sign-in form may lie open."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Of every answer; files of ours may be kept. `same-origin`: with no `Referer` at all, forms would come with
`Origin: null`."""

FOREVER = "public, max-age=31536000, immutable"

Answer = Callable[[Request], Awaitable[Response]]


class SignedOut(Exception):
    """Nobody is signed in."""


class Console:
    """Serves the console."""

    def __init__(self, backing: Backing) -> None:
        """Serve what is in `backing`; files are read with the first request."""
        self._backing = backing
        self._asking = Asking("pages", "the database")
        self._throttle = Throttle()
        self._past = Past(backing.clock.now)
        self._tasks = TaskOwner("console")
        self._is_prepared = False
        key = backing.settings.master_key
        self._signer = None if key is None else Signer(key)

    def __repr__(self) -> str:
        return f"<Console {self._asking!r}>"

    def routes(self) -> list[BaseRoute]:
        """What is served."""
        pages = [
            Route(page.path, self._guarded(self._page(page)), methods=[page.method]) for page in every_page()
        ]
        return [
            Route(SIGN_IN, self._guarded(self._entrance), methods=["GET"]),
            Route(SIGN_IN, self._guarded(self._sign_in), methods=["POST"]),
            Route(f"{CONSOLE_PATH}/sign-out", self._guarded(self._sign_out), methods=["POST"]),
            Route(f"{CONSOLE_PATH}/static/{{name}}", self._guarded(self._static), methods=["GET"]),
            *pages,
            Route(f"{CONSOLE_PATH}/{{rest:path}}", self._guarded(self._unknown)),
        ]

    async def close(self) -> None:
        """Begin nothing more; what runs on threads is not waited for."""
        self._asking.close()
        await self._tasks.close()

    @cached_property
    def _assets(self) -> Assets:
        return Assets()

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._assets)

    def _guarded(self, answer: Answer) -> Answer:
        """`answer` with our headers, and with a page for what goes wrong."""

        async def guarded(request: Request) -> Response:
            try:
                response = await answer(request)
            except SignedOut:
                response = self._to_entrance(request)
            except RelayError as error:
                response = await self._error_page(request, error)
            except Exception:  # the last resort, which tells the log
                log.exception("page failed", path=shown_path(request.url.path))
                told = InternalError("This page could not be made; Ferryman's log says why.")
                response = await self._error_page(request, told)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            self._prepare()
            return response

        return guarded

    def _prepare(self) -> None:
        """After the first answer: whoever has it will look at pages, the overview before all."""
        if not self._is_prepared:
            self._is_prepared = True
            self._tasks.spawn(self._foresee(), "sums of the past")
            self._tasks.spawn(self._compile(), "templates")

    async def _foresee(self) -> None:
        figures = Figures(self._backing.store.read, self._past)
        with suppress(RelayError, StoreError):  # the page will say what is wrong with the database
            await self._asking.in_thread(partial(foresee, figures, self._now()))

    async def _compile(self) -> None:
        """Compile all templates, not at the start: see `Renderer`."""
        for name in self._renderer.templates:
            await asyncio.to_thread(self._renderer.compile, name)

    def _page(self, page: Page) -> Answer:
        async def answer(request: Request) -> Response:
            session, visit = await self._visit(request)
            if page.sees_all and not visit.caller.sees_all:
                raise PermissionDenied("This page is for administrators; your key sees its own only.")
            if page.method == "POST":
                visit = visit._replace(form=await self._checked_form(request, session.id))
            response = await page.handler(visit)
            if self._now() >= session.seen_at + RENEW_SECONDS:
                self._remember(response, msgspec.structs.replace(session, seen_at=int(self._now())))
            return response

        return answer

    async def _visit(self, request: Request) -> tuple[Session, Visit]:
        """Whoever has signed in, and what they ask for; SignedOut if nobody has."""
        signer, cookie = self._signer, request.cookies.get(COOKIE)
        session = None if signer is None or cookie is None else signer.session(cookie, self._now())
        if session is None or signer is None:
            raise SignedOut
        caller = await self._caller(session.token)
        if caller is None:
            raise SignedOut
        visit = Visit(
            request,
            caller,
            session,
            {},
            signer.form_token(session.id),
            self._backing,
            self._asking,
            self._renderer,
            self._past,
        )
        return session, visit

    async def _caller(self, token: str) -> Caller | None:
        return MASTER if not token else await self._backing.desk.caller_with(token)

    async def _checked_form(self, request: Request, session_id: str) -> dict[str, str]:
        """The form of `request`, if it comes from a page of ours.

        Raises:
            PermissionDenied: it does not.
        """
        signer = self._signer
        form = await form_of(request)
        site = request.headers.get("sec-fetch-site", "same-origin")
        token = form.pop("form_token", "")
        if signer is None or site != "same-origin" or not signer.is_form_token(session_id, token):
            raise PermissionDenied("This form is too old, or not from this page; go back and load it again.")
        return form

    async def _entrance(self, request: Request) -> Response:
        try:
            await self._visit(request)
        except SignedOut:
            return self._entrance_page(request.query_params.get("next", ""))
        return RedirectResponse(CONSOLE_PATH, 303)

    def _entrance_page(self, next_path: str, problem: str | None = None, status: int = 200) -> Response:
        entry_id = secrets.token_hex(16)
        signer = self._signer
        values = {
            "form_token": None if signer is None else signer.form_token(entry_id),
            "next_path": next_path,
            "problem": problem,
        }
        response = html(self._renderer.page("sign_in.html", self._now(), values), status)
        self._set_cookie(response, ENTRY_COOKIE, entry_id, ENTRY_SECONDS)
        return response

    async def _sign_in(self, request: Request) -> Response:
        address, now = address_of(request) or "", self._now()
        form = await form_of(request)
        wanted = form.get("next", "")
        if (wait := self._throttle.wait_seconds(address, now)) > 0:
            error = RateLimited(f"Too many tries; wait {wait} seconds.", wait)
            response = self._entrance_page(wanted, error.message, error.status)
            response.headers["retry-after"] = str(wait)
            return response
        signer, entry_id = self._signer, request.cookies.get(ENTRY_COOKIE, "")
        token = form.get("form_token", "")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if signer is None or site != "same-origin" or not signer.is_form_token(entry_id, token):
            return self._entrance_page(wanted, "This form was too old. Please try again.", 403)
        found = await self._signed_in(form.get("key", ""))
        if found is None:
            self._throttle.failed(address, now)
            log.warning("sign-in refused", client_address=address)
            problem = "This is neither the master key nor a virtual key that can be used now."
            return self._entrance_page(wanted, problem, 401)
        self._throttle.succeeded(address)
        response = RedirectResponse(_own_path(wanted), 303)
        self._remember(response, Session(secrets.token_hex(16), found, int(now), int(now)))
        response.delete_cookie(ENTRY_COOKIE, path=CONSOLE_PATH)
        return response

    async def _signed_in(self, key: str) -> str | None:
        """What a session is begun with by this key: its token, empty for the master key; `None` for none."""
        if not key:
            return None
        if self._backing.desk.is_master(key):
            return ""
        token = token_of(key)
        return None if await self._backing.desk.caller_with(token) is None else token

    async def _sign_out(self, request: Request) -> Response:
        session, _ = await self._visit(request)
        await self._checked_form(request, session.id)
        if self._signer is not None:
            self._signer.end(session)
        response = RedirectResponse(SIGN_IN, 303)
        response.delete_cookie(COOKIE, path=CONSOLE_PATH)
        return response

    async def _static(self, request: Request) -> Response:
        found = self._assets.find(request.path_params["name"])
        if found is None:
            raise NotFound("There is no such file.")
        return Response(found.body, media_type=found.media_type, headers={"cache-control": FOREVER})

    async def _unknown(self, request: Request) -> Response:
        await self._visit(request)
        raise NotFound("There is no such page.")

    def _to_entrance(self, request: Request) -> Response:
        target = f"{SIGN_IN}?next={quote(request.url.path, safe='')}"
        if "hx-request" in request.headers:  # a part of a page: the whole of it has to go there
            return Response(status_code=200, headers={"hx-redirect": SIGN_IN})
        return RedirectResponse(target if request.method == "GET" else SIGN_IN, 303)

    async def _error_page(self, request: Request, error: RelayError) -> Response:
        """A page that says what went wrong, within the layout where that can be."""
        values = {"status": error.status, "problem": error.message}
        try:
            _, visit = await self._visit(request)
        except (SignedOut, RelayError):
            text = self._renderer.page("error_alone.html", self._now(), values)
        else:
            values = visit.frame() | values
            text = self._renderer.page("error.html", self._now(), values)
        response = html(text, error.status)
        if error.retry_after_seconds is not None:
            response.headers["retry-after"] = str(error.retry_after_seconds)
        return response

    def _remember(self, response: Response, session: Session) -> None:
        assert self._signer is not None  # noqa: S101  # nobody signs in without
        self._set_cookie(response, COOKIE, self._signer.cookie(session), MOST_SECONDS)

    def _set_cookie(self, response: Response, name: str, value: str, seconds: int) -> None:
        settings = self._backing.settings
        is_secure = settings.tls_cert_file is not None or (settings.public_url or "").startswith("https:")
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=CONSOLE_PATH,
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )

    def _now(self) -> float:
        return self._backing.clock.now()


def _own_path(wanted: str) -> str:
    """`wanted` if it is one of the console's pages, else the first: nobody is sent elsewhere by a link."""
    is_own = wanted.startswith(f"{CONSOLE_PATH}/") and wanted.isascii() and wanted.isprintable()
    return wanted if is_own and "//" not in wanted and "\\" not in wanted else CONSOLE_PATH
