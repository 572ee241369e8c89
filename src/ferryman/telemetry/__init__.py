"""What operators see: one log line per exchange, and structured messages for everything else."""
