"""Speed as ratios measured side by side in one run; ``jobs/bench.py`` prints them."""
