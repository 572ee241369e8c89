"""What the processes of one `ferryman serve` share: where they meet, what they tell each other, how they end.

The supervisor starts the others as fresh interpreters. Each has one end of a socket pair as its
standard input, its lifeline: the settings come over it, so that no secret stands on a command line,
and when it ends the supervisor has gone.
"""
