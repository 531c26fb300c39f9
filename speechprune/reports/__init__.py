"""Reports: answers and summaries on the terminal, and the docs page of columns."""
