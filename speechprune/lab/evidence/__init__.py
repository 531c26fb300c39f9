"""What pruning keeps of real embeddings: SPIRAL's transcripts as the tokens of a language model."""
