"""Limits and budgets: windows, holds and counters. Arithmetic only, used by workers and control plane."""
