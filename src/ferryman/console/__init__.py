"""The console at `/ui`: server-rendered pages over the same functions as the management API."""
