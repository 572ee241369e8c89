"""Processes that are killed under load, and what the ledger knows of it afterwards."""
