"""Tests; what they and their processes compute is so small that threads would only wait for each other."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy or torch
