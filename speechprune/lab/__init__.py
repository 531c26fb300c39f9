"""What the product does not need: training of the demo model, benchmarks of speed and faults, Fig. 2."""
