"""Which recordings of an index answer a question: late interaction over all of their windows."""
