"""What can be set about the simulator. Every default suits a test; nothing is read from the environment."""

from dataclasses import dataclass, field

# The names of anthropic 2.12.0, types/model_param.py, in its order, which is newest first.
MODELS = (
    "claude-fable-5-2",
    "claude-mythos-5-2",
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
    "claude-fable-5-1",
    "claude-opus-5-5",
    "claude-mythos-5-1",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-mythos-preview",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-haiku-4-5",
    "claude-haiku-4-5-20251001",
    "claude-opus-4-5",
    "claude-opus-4-5-20251101",
    "claude-sonnet-4-5",
    "claude-sonnet-4-5-20250929",
)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The settings of one simulator.

    Attributes:
        api_keys: The credentials that are valid. Empty: every non-empty one is. When listed, each
            credential that a request presents has to be valid, so that a gateway which lets its
            client's own key through is noticed.
        models: What `GET /v1/models` lists, newest first.
        strict_models: Whether a message may name only `models`. Otherwise every name that begins with
            `claude` is accepted; any other is answered with 404, as an unresolved alias would be.
        profile: Whose endpoint it is: `anthropic`, or `argo`, whose list has a shape of its own and whose
            messages may have a field `user`. Everybody may see that list.
        always: Control keys that apply to every request, in the syntax of `x-simulator`.
        max_body_bytes: The most a request body may hold, before and after decoding. Anthropic's limit
            for Messages is 32 MB.
        max_batch_bytes: The same for a batch; Anthropic's limit is 256 MB.
        kept_batches: How many batches there are at most; a new one makes the oldest be forgotten.
        kept_batch_bytes: How many bytes of requests, all batches together, are kept at most; likewise.
        max_file_bytes: The most a file may hold. Anthropic's limit is 500 MB; this one keeps files in memory.
        kept_files: How many files there are at most; one more is refused.
        kept_file_bytes: How many bytes of files, all together, are kept at most; likewise.
        recorded_requests: How many requests the recorder keeps.
        recorded_bytes: How many bytes of bodies, all requests together, it keeps at most.
        recorded_response_bytes: How many bytes of each response body it keeps.
        organization_id: What `anthropic-organization-id` says.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    models: tuple[str, ...] = MODELS
    strict_models: bool = False
    profile: str = "anthropic"
    always: str = ""
    max_body_bytes: int = 32 * 1024 * 1024
    max_batch_bytes: int = 256 * 1024 * 1024
    kept_batches: int = 10_000
    kept_batch_bytes: int = 512 * 1024 * 1024
    max_file_bytes: int = 32 * 1024 * 1024
    kept_files: int = 10_000
    kept_file_bytes: int = 256 * 1024 * 1024
    recorded_requests: int = 1_000
    recorded_bytes: int = 256 * 1024 * 1024
    recorded_response_bytes: int = 4 * 1024 * 1024
    organization_id: str = "00000000-0000-4000-8000-000000000001"
