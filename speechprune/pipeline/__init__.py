"""The job around the straight line: Ray Data stages, the run directory, progress. Imports ray."""
