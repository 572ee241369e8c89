"""The suite. Everything runs against real servers and sockets; fakes stand at the edge only."""
