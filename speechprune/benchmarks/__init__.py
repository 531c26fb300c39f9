"""Readers that turn published benchmarks into manifests, one file per benchmark family."""
