"""The execution controller process."""
