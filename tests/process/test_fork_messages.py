"""What crosses the socket between a node and its fork server arrives as it was."""

from pathlib import Path

from tsd.core.messages import ProcessSpec
from tsd.core.records import ProcessRole
from tsd.node.fork_messages import Exited, Setup, Spawn, decode, encode
from tsd.settings import load_settings

CLUSTER_FILE = """
terafoundation:
  log_level: [{console: warn}, {file: debug}]
  log_path: logs
  logging: [console, file]
  connectors:
    http: {default: {url: "http://127.0.0.1", retries: 3, verify: false, none: null}}
teraslice:
  env_vars: {COLOUR: blue}
  slicer_port_range: "45679:45700"
tsd:
  labels: {rack: a}
  nodes: {n1: {workers: 2}}
  operation_modules: [my.operations]
"""


def test_settings_arrive_as_they_were(tmp_path):
    (tmp_path / "logs").mkdir()
    file = tmp_path / "tsd.yaml"
    file.write_text(CLUSTER_FILE)
    settings = load_settings(file, environ={}).for_node("n1")
    setup = Setup(settings=settings, entries={"worker": "m:f"}, preload=("trio",), node_id="n1")

    assert decode(encode(setup)) == setup
    assert isinstance(setup.settings.path, Path)


def test_other_messages_arrive_as_they_were():
    spec = ProcessSpec(
        proc_id="ex/1/w1.1",
        role=ProcessRole.WORKER,
        ex_id="ex",
        job_id="job",
        generation=1,
        number=1,
        dial="tcp://127.0.0.1:1",
        env={"A": "b"},
    )
    exited = Exited(proc_id="p", pid=3, exit_code=None, signal=9, running=7, detail="ä\n")

    assert decode(encode(Spawn(spec=spec))) == Spawn(spec=spec)
    assert decode(encode(exited)) == exited
