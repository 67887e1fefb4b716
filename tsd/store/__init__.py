"""The durable store: jobs, executions, slice records."""
