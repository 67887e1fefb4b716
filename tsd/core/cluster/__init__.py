"""The core of the cluster: nodes, processes, placement, leases."""
