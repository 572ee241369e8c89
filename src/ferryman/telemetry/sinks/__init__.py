"""Where entries are sent beside the database: files, webhooks, OpenTelemetry, functions of the operator's.

A sink takes some entries at a time and may wait; it has a thread of its own. What it does not take is sent
again, so that it may get an entry twice, and what it takes is never sent in another order.
"""
