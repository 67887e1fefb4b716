"""Messages between processes: ZeroMQ on trio, and its in-memory twin."""
