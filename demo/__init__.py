"""A simulated Anthropic API and a gateway with a day's work in it, to look at: run by scripts/demo."""
