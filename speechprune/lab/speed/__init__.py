"""Speed benchmarks: ratios of two ways of doing the same work, measured in turn in one run."""
