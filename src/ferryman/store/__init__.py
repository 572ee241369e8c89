"""The database: entries, their sums by day, and how far each journal is read. SQLite or PostgreSQL.

Only the control plane and the command line import it. Everything here is synchronous and may wait for
the database: callers on an event loop call it from threads. `ferryman.store.store.Store` is the way in.
"""
