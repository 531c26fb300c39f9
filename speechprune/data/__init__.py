"""Rows in and out: answer columns, manifests, and the files of an index."""
