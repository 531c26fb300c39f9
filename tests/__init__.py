"""Tests; what they and the processes that they start compute is small: threads would wait for each other."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy or torch
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # two processes of each Ray that would collect them
