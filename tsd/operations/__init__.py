"""The operation API: what people who write operations import."""
