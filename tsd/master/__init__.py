"""The master daemon: API, scheduler, store."""
