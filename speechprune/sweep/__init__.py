"""Many ways of pruning over the same recordings: the grid, and what its points are worth."""
