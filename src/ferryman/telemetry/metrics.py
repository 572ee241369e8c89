"""Every metric in one table: name, kind, meaning, labels. `docs/metrics.md` is made of it."""

from __future__ import annotations

from ferryman.telemetry.exposition import Metric

DURATIONS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Anthropic ends a call after 600 seconds; most take from one to sixty."""

FIRST_BYTES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)

OVERHEADS = (5e-5, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0)
"""Most requests take some tenths of a millisecond of ours; a body of megabytes takes milliseconds."""

REQUESTS = Metric(
    "ferryman_requests_total",
    "counter",
    "Exchanges that ended; `status` is what the client was answered with, `none` without an answer.",
    ("endpoint", "model", "status", "ended"),
)
ERRORS = Metric(
    "ferryman_errors_total",
    "counter",
    "Exchanges that failed, by what went wrong and on whose side.",
    ("endpoint", "class", "side"),
)
DURATION = Metric(
    "ferryman_request_duration_seconds",
    "histogram",
    "From the head of a request to the end of its exchange.",
    ("endpoint", "model", "stream"),
    DURATIONS,
)
FIRST_BYTE = Metric(
    "ferryman_time_to_first_token_seconds",
    "histogram",
    "From the head of a request to the first byte of the upstream's answer, of answered messages; "
    "a stream begins with its first token, another answer with its last.",
    ("model", "stream"),
    FIRST_BYTES,
)
OVERHEAD = Metric(
    "ferryman_overhead_seconds",
    "histogram",
    "What Ferryman itself adds to an exchange; waiting for a new upstream connection is not in it.",
    (),
    OVERHEADS,
)
TOKENS = Metric(
    "ferryman_tokens_total",
    "counter",
    "Tokens, by model and price class; they exclude each other.",
    ("model", "class"),
)
TOOLS = Metric(
    "ferryman_server_tool_uses_total",
    "counter",
    "Uses of tools that run at Anthropic.",
    ("model", "tool"),
)
SPEND = Metric("ferryman_spend_usd_total", "counter", "What exchanges and batches cost.", ("model",))
FALLBACK_PRICED = Metric(
    "ferryman_fallback_priced_total",
    "counter",
    "Exchanges whose model has no price of its own, so that they cost another model's.",
    ("model",),
)
CACHE_HITS = Metric(
    "ferryman_cache_hit_ratio",
    "gauge",
    "Of all input tokens since the control plane was started, those read from the cache: 0 to 1.",
    ("model",),
)
KEY_REQUESTS = Metric("ferryman_key_requests_total", "counter", "Exchanges of a virtual key.", ("key",))
KEY_ERRORS = Metric("ferryman_key_errors_total", "counter", "Those among them that failed.", ("key",))
KEY_TOKENS = Metric("ferryman_key_tokens_total", "counter", "Tokens of all classes.", ("key",))
KEY_SPEND = Metric("ferryman_key_spend_usd_total", "counter", "What they cost.", ("key",))
KEY_INFO = Metric(
    "ferryman_key_info",
    "gauge",
    "1; tells how the keys that are counted are called, and whose they are.",
    ("key", "alias", "team", "user"),
)
END_USER_REQUESTS = Metric(
    "ferryman_end_user_requests_total",
    "counter",
    "Exchanges of an end user; only with `metrics_end_user`.",
    ("end_user",),
)
END_USER_SPEND = Metric(
    "ferryman_end_user_spend_usd_total",
    "counter",
    "What they cost; only with `metrics_end_user`.",
    ("end_user",),
)
_BUDGET = ("kind", "name", "window", "model")
BUDGET_LIMIT = Metric("ferryman_budget_limit_usd", "gauge", "The cap of a budget.", _BUDGET)
BUDGET_LEFT = Metric(
    "ferryman_budget_remaining_usd",
    "gauge",
    "What is left of it in the window that runs; what exchanges on their way hold of it counts as left.",
    _BUDGET,
)
BUDGET_RESETS = Metric(
    "ferryman_budget_resets_timestamp_seconds", "gauge", "When its window ends, in Unix time.", _BUDGET
)
WORKER_READY = Metric(
    "ferryman_worker_ready", "gauge", "1 while a worker takes requests, else 0.", ("worker",)
)
LIVE = Metric("ferryman_live_exchanges", "gauge", "Exchanges that are not over.", ("worker",))
HELD = Metric("ferryman_held_body_bytes", "gauge", "Request bodies in memory.", ("worker",))
CONNECTIONS = Metric(
    "ferryman_upstream_connections",
    "gauge",
    "Connections to an upstream, by `state`: `idle` or `busy` (being opened included).",
    ("worker", "upstream", "state"),
)
OPENED = Metric(
    "ferryman_upstream_connections_opened_total",
    "counter",
    "Connections to an upstream that were opened, since the worker was started.",
    ("worker", "upstream"),
)
BODIES_DROPPED = Metric(
    "ferryman_bodies_dropped_total",
    "counter",
    "Exchanges whose bodies `log_bodies` should keep, and that found no room or were not taken in time, "
    "since the worker was started.",
    ("worker",),
)
JOURNAL_HEALTHY = Metric(
    "ferryman_journal_healthy", "gauge", "1 while a worker's journal can be written, else 0.", ("worker",)
)
JOURNAL_LAG = Metric(
    "ferryman_journal_lag_seconds",
    "gauge",
    "Since when the journals have not been read to their ends and stored; below 2 if all is well.",
)
JOURNAL_PROBLEMS = Metric(
    "ferryman_journal_problems_total", "counter", "What was wrong with what journals had.", ("kind",)
)
LOST = Metric(
    "ferryman_entries_lost_total",
    "counter",
    "Records of journals that never came or cannot be read: 0.",
)
STORED = Metric("ferryman_entries_stored_total", "counter", "Entries that were put into the database.")
SINK_DELIVERED = Metric(
    "ferryman_sink_delivered_total", "counter", "Entries that a sink has taken.", ("sink",)
)
SINK_FAILURES = Metric(
    "ferryman_sink_failures_total", "counter", "Attempts that a sink did not take.", ("sink",)
)
SINK_DROPPED = Metric(
    "ferryman_sink_dropped_total",
    "counter",
    "Entries that a sink refused again and again, or did not take within seven days.",
    ("sink",),
)
SINK_BEHIND = Metric(
    "ferryman_sink_behind_seconds", "gauge", "How long the oldest entry waits for a sink.", ("sink",)
)
DATABASE_UP = Metric("ferryman_database_up", "gauge", "1 if the database took what came last, else 0.")
MEMORY = Metric(
    "ferryman_process_resident_memory_bytes", "gauge", "Resident memory of a process.", ("process",)
)
RESTARTS = Metric(
    "ferryman_process_restarts_total",
    "counter",
    "How often a process was started again since `ferryman serve` was.",
    ("process",),
)
BUILD = Metric("ferryman_build_info", "gauge", "1; tells the version.", ("version",))

METRICS = (
    *(REQUESTS, ERRORS, DURATION, FIRST_BYTE, OVERHEAD),
    *(TOKENS, TOOLS, CACHE_HITS, SPEND, FALLBACK_PRICED),
    *(KEY_REQUESTS, KEY_ERRORS, KEY_TOKENS, KEY_SPEND, KEY_INFO, END_USER_REQUESTS, END_USER_SPEND),
    *(BUDGET_LIMIT, BUDGET_LEFT, BUDGET_RESETS),
    *(WORKER_READY, LIVE, HELD, CONNECTIONS, OPENED, BODIES_DROPPED),
    *(JOURNAL_HEALTHY, JOURNAL_LAG, JOURNAL_PROBLEMS, LOST, STORED, DATABASE_UP),
    *(SINK_DELIVERED, SINK_FAILURES, SINK_DROPPED, SINK_BEHIND),
    *(MEMORY, RESTARTS, BUILD),
)
"""All of them, in the order of the page."""
