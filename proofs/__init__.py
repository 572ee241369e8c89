"""What shows only over time, or only to a machine that tries millions of inputs. Run by scripts/prove."""
