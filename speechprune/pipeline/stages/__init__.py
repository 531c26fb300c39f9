"""What workers do with rows: decode, encode, answer, write."""
