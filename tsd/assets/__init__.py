"""Bundles of operations: what one is, which one a job means, and its files on a host."""
