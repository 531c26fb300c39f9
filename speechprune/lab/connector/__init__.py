"""A small Speech LLM from published weights: Whisper's encoder, a trained connector, a language model."""
