"""A gateway process under mixed load, watched from outside."""
