"""The benchmark of a GPU: one script that measures every stage on a card, within minutes."""
