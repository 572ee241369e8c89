"""One request for a page: who asks, what for, and the ways to an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ferryman.aliases import ModelList
from ferryman.clock import Clock
from ferryman.console.figures import Figures, Past
from ferryman.console.render import Renderer
from ferryman.console.session import Session
from ferryman.control.access.desk import Desk
from ferryman.control.access.operation import Spends
from ferryman.control.asking import Asking
from ferryman.control.callers import Caller, check_role
from ferryman.control.processes import Processes
from ferryman.errors import BodyTooLarge, InvalidRequest
from ferryman.pricing.catalog import Catalog
from ferryman.settings import Settings
from ferryman.store.store import Store

MAX_FORM_BYTES = 65_536
"""A form has some twenty fields; the longest are lists of models and notes."""

MAX_FIELDS = 200

T = TypeVar("T")


class Backing(NamedTuple):
    """What the console stands on: all of it is the management API's too.

    Attributes:
        catalog: the prices in force.
        models: the models and aliases that workers are told of.
    """

    settings: Settings
    store: Store
    desk: Desk
    spends: Spends
    processes: Processes
    catalog: Callable[[], Catalog]
    clock: Clock
    models: Callable[[], ModelList]


class Visit(NamedTuple):
    """A request of somebody who has signed in.

    Attributes:
        form: of a POST; the last value of each field.
        form_token: for forms on the page.
        past: what is known of days that are over.
    """

    request: Request
    caller: Caller
    session: Session
    form: dict[str, str]
    form_token: str
    backing: Backing
    asking: Asking
    renderer: Renderer
    past: Past

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters that have a value; the last of each."""
        return {name: value for name, value in self.request.query_params.items() if value}

    @property
    def client(self) -> str | None:
        """The address of who asks."""
        return address_of(self.request)

    @property
    def now(self) -> float:
        """Unix time."""
        return self.backing.clock.now()

    def figures(self, principals: Sequence[str] | None = None) -> Figures:
        """What was used by these principals, or by everybody."""
        return Figures(self.backing.store.read, self.past, principals)

    def check(self, method: str, path: str) -> None:
        """See that the caller may ask the API this; PermissionDenied if not."""
        check_role(self.caller, method, path)

    async def ask(self, question: Callable[[], T]) -> T:
        """What `question` returns, which waits for the database.

        Raises:
            Overloaded: too many are asking.
            Unavailable: the database is away.
        """
        return await self.asking.in_thread(question)

    async def perform(self, named: str, **members: object) -> Any:  # noqa: ANN401  # JSON
        """Carry out an operation of the management API; see `Desk.perform`."""
        return await self.backing.desk.perform(self.caller, self.client, named, members)

    async def glance(self, named: str, **members: object) -> Any:  # noqa: ANN401  # JSON
        """The same for who asks for names and budgets: what was spent without a budget is not added up."""
        return await self.backing.desk.perform(self.caller, self.client, named, members, only_counted=True)

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        """A page."""
        return html(self.renderer.page(template, self.now, self.frame() | values), status)

    def frame(self) -> dict[str, Any]:
        """What the layout shows."""
        return {
            "caller": self.caller,
            "here": self.request.url.path,
            "form_token": self.form_token,
            "notice": NOTICES.get(self.request.query_params.get("done", "")),
            "base_url": base_url(self.backing.settings),
            "has_public_url": self.backing.settings.public_url is not None,
            "problem": None,
        }

    def redirect(self, path: str, **query: str) -> Response:
        """Go on to another page; 303, so that it is asked for by GET."""
        return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)


Handler = Callable[[Visit], Awaitable[Response]]

NOTICES = {
    "blocked": "Blocked. Nothing goes through any more.",
    "unblocked": "Unblocked. Requests go through again.",
    "saved": "Saved. The workers have been told.",
    "created": "Created.",
    "deleted": "Deleted.",
    "reset": "The spend of this window has been reset.",
    "member": "The members have been changed.",
}
"""What was done → how it is said. Only these are shown, so that no link can put words on a page."""


class Page(NamedTuple):
    """A path of the console.

    Attributes:
        sees_all: only for who sees everybody's keys.
    """

    path: str
    handler: Handler
    method: str = "GET"
    sees_all: bool = False


def html(text: str, status: int = 200) -> Response:
    """A page as a response."""
    return Response(text, status, media_type="text/html")


def address_of(request: Request) -> str | None:
    """The address of whoever has sent `request`, `None` if it is not known."""
    return None if request.client is None else request.client.host


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, trimmed; the last value of each.

    Raises:
        BodyTooLarge: it has more than `MAX_FORM_BYTES`.
        InvalidRequest: it is none.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise InvalidRequest("this is no form of the console's.")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FORM_BYTES:
            raise BodyTooLarge(f"the form is larger than {MAX_FORM_BYTES} bytes.")
    try:
        fields = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequest("the form cannot be read.") from error
    return {name: value.strip() for name, value in fields}


def base_url(settings: Settings) -> str:
    """Where clients reach Ferryman, as far as the settings tell; pages put in the browser's own address."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    scheme = "http" if settings.tls_cert_file is None else "https"
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  # not bound to
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
