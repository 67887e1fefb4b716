"""Logs, metrics and service notification."""
