"""Bundles of operations (their issue is still open; only references are checked so far)."""
