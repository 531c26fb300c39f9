"""What jobs leave and continue: run directories, benchmarks, and the settings that they were made with."""
