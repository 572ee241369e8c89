"""What Prometheus is told: counts of the entries as they are stored, and how all that runs fares."""
