"""The clients that people use, against the gateway as a process of its own: `scripts/clients`."""
