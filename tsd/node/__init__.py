"""The node daemon: starts, watches and ends the processes of one host."""
