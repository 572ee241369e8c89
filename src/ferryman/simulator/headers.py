"""What request headers decide, and the headers that every answer carries. Pure."""

import re
import zlib

from ferryman.simulator.call import Call
from ferryman.simulator.errors import ApiError, invalid
from ferryman.simulator.settings import SimulatorSettings
from ferryman.simulator.validate import KNOWN_VERSIONS

# A fixed instant, for the same request has to get the same answer tomorrow.
RATE_LIMIT_RESET = "2030-01-01T00:00:00Z"
RATE_LIMITS = {"requests": 4_000, "tokens": 2_400_000, "input-tokens": 2_000_000, "output-tokens": 400_000}

_GZIP_OR_ZLIB = 47  # zlib's window bits for "either header"


def authenticate(call: Call, settings: SimulatorSettings) -> None:
    """Require a credential, as `x-api-key`, as `Authorization: Bearer`, or both.

    Raises:
        ApiError: 401.
    """
    key = call.header("x-api-key").strip()
    scheme, _, token = call.header("authorization").strip().partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if not key and not token:
        raise ApiError(401, "x-api-key header is required")
    if settings.api_keys and key and key not in settings.api_keys:
        raise ApiError(401, "invalid x-api-key")
    if settings.api_keys and token and token not in settings.api_keys:
        raise ApiError(401, "Invalid bearer token")


def api_version(call: Call) -> str:
    """The `anthropic-version`.

    Raises:
        ApiError: 400, when there is none or an unknown one.
    """
    version = call.header("anthropic-version")
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in KNOWN_VERSIONS:
        raise invalid(f"anthropic-version: `{version}` is not a valid version: {', '.join(KNOWN_VERSIONS)}")
    return version


def has_beta(call: Call) -> bool:
    """Whether any `anthropic-beta` is named."""
    return bool(call.header("anthropic-beta").strip(" ,"))


def accepts_gzip(call: Call) -> bool:
    """Whether `accept-encoding` allows gzip (RFC 9110, 12.5.3)."""
    for item in call.header("accept-encoding").lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in {"gzip", "x-gzip", "*"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


def decoded_body(call: Call, max_bytes: int) -> bytes:
    """The body without its `content-encoding`, which may be gzip or deflate.

    Raises:
        ApiError: 400, for any other encoding or a body that is not in it; 413, when it grows too large.
    """
    encoding = call.header("content-encoding").strip().lower()
    if encoding in {"", "identity"}:
        return call.body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise invalid(
            f"content-encoding: `{encoding}` is not supported", code="request_body_encoding_unsupported"
        )
    decompressor = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        body = decompressor.decompress(call.body, max_bytes + 1)
    except zlib.error as error:
        raise invalid(
            f"The request body is not valid {encoding}", code="request_body_encoding_invalid"
        ) from error
    if len(body) > max_bytes:
        raise too_large(code="request_body_too_large_after_decoding")
    if not decompressor.eof:
        raise invalid(f"The request body ends too early for {encoding}", code="request_body_encoding_invalid")
    return body


def too_large(code: str | None = None) -> ApiError:
    """The 413 for a body over the limit."""
    return ApiError(413, "Request exceeds the maximum allowed number of bytes", code=code)


def standard_headers(
    settings: SimulatorSettings, request_id: str, input_tokens: int = 0, output_tokens: int = 0
) -> dict[str, str]:
    """The headers that every answer carries. The limits are always those before this request."""
    used = {
        "requests": 1,
        "tokens": input_tokens + output_tokens,
        "input-tokens": input_tokens,
        "output-tokens": output_tokens,
    }
    headers = {"request-id": request_id, "anthropic-organization-id": settings.organization_id}
    for name, limit in RATE_LIMITS.items():
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = str(max(0, limit - used[name]))
        headers[f"anthropic-ratelimit-{name}-reset"] = RATE_LIMIT_RESET
    return headers
