"""Benchmark synthesis, as the paper made SPIRAL: a script, its speech, and questions with known evidence."""
