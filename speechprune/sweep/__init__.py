"""Sweep: many ways of pruning over the same recordings, and their accuracy against cost."""
