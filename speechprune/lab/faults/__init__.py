"""What happens on real clusters, rehearsed on this machine: faults, a long haul, more nodes."""
