"""Published models assembled from packages of a package index, for machines that don't reach the hub."""
