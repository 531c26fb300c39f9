"""Training of the small speech LLM that the project ships, from nothing, on the builder's speech."""
