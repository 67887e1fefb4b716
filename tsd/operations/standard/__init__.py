"""The operations that come with tsd."""
