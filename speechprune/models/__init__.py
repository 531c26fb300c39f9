"""Speech LLMs: the only room that knows Hugging Face's internals, one adapter file per model family."""
