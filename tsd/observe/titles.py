"""Names of tsd's processes, as `ps` and `top` show them."""

from setproctitle import setproctitle


def title_up() -> None:
    """The supervisor of an embedded cluster."""
    setproctitle("tsd: up")


def title_master() -> None:
    """The master daemon."""
    setproctitle("tsd: master")


def title_node(node_id: str) -> None:
    """A node daemon."""
    setproctitle(f"tsd: node {node_id}")


def title_fork_server(node_id: str) -> None:
    """The fork server of a node."""
    setproctitle(f"tsd: fork server {node_id}")


def title_controller(ex_id: str) -> None:
    """The controller of an execution."""
    setproctitle(f"tsd: controller {ex_id}")


def title_worker(ex_id: str, number: int) -> None:
    """Worker `number` (1..) of an execution."""
    setproctitle(f"tsd: worker {ex_id}/{number}")
