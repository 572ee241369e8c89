"""The endpoints below `/v1/files`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.simulator.files import FileStore, read_upload
from ferryman.simulator.front import Front, Performance, call_of
from ferryman.simulator.ids import stable_id
from ferryman.simulator.multipart import read_form
from ferryman.simulator.script import body_script

PATH = "/v1/files"


class Files:
    """The endpoints, around the files of one app."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.store = FileStore(front.settings.kept_files, front.settings.kept_file_bytes)

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(PATH, self.upload, methods=["POST"]),
            Route(PATH, self.page, methods=["GET"]),
            Route(f"{PATH}/{{file_id}}", self.metadata, methods=["GET"]),
            Route(f"{PATH}/{{file_id}}", self.delete, methods=["DELETE"]),
            Route(f"{PATH}/{{file_id}}/content", self.content, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """`POST /v1/files`."""
        call = call_of(request)
        body, _ = self.front.body(call)
        file = read_upload(
            read_form(body, call.header("content-type")),
            stable_id("file", call.digest, str(self.store.created)),
            self.front.clock.now(),
            self.front.settings.max_file_bytes,
            is_downloadable=call.control.downloadable,
        )
        self.store.add(file)
        return self.front.json(call, file.as_json())

    async def page(self, request: Request) -> Response:
        """`GET /v1/files`."""
        call = self.front.known_caller(request)
        query = request.query_params
        ids = [*query.getlist("ids[]"), *query.getlist("ids")]
        return self.front.json(call, self.store.page(query, ids))

    async def metadata(self, request: Request) -> Response:
        """`GET /v1/files/{id}`."""
        call = self.front.known_caller(request)
        return self.front.json(call, self.store.get(request.path_params["file_id"]).as_json())

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/files/{id}`."""
        call = self.front.known_caller(request)
        file_id = request.path_params["file_id"]
        self.store.delete(file_id)
        return self.front.json(call, {"id": file_id, "type": "file_deleted"})

    async def content(self, request: Request) -> Response:
        """`GET /v1/files/{id}/content`."""
        call = self.front.known_caller(request)
        file = self.store.content(request.path_params["file_id"], self.front.clock.now())
        return Performance(body_script(self.front.envelope(call), file.data, file.mime_type), call)
