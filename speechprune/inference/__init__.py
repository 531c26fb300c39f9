"""One process, no Ray: encode recordings, prepare questions, prune, answer."""
