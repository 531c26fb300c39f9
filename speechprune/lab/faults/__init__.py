"""Fault injection, scaling and soak runs of the main job on a cluster of processes of this machine."""
