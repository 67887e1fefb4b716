"""The tsd command."""
