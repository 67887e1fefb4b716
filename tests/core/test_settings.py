import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import open_to_others, unprivileged
from tsd.errors import ConfigError
from tsd.setting_sections import LogLevels
from tsd.settings import advertised_host, load_settings, note_on_master, note_on_node


@pytest.fixture
def load(tmp_path):
    """Settings from the text of a file."""

    def load_text(text, overrides=None, **environ):
        file = tmp_path / "tsd.yaml"
        file.write_text(text)
        return load_settings(file, overrides, environ=environ)

    return load_text


@pytest.fixture
def faults(load):
    """The faults of the text of a file, as {path: message}."""

    def faults_of(text):
        with pytest.raises(ConfigError) as caught:
            load(text)
        return dict(caught.value.faults)

    return faults_of


def test_without_a_file_everything_has_its_default():
    """Conformance points 24 and 25 of the cluster facts; E48 for the timeouts."""
    settings = load_settings(environ={"HOME": "/nowhere"})

    assert settings.path is None
    assert settings.teraslice.port == 5678
    assert settings.teraslice.slicer_port_range == (45679, 46678)
    assert settings.teraslice.node_disconnect_timeout_s == 30
    assert settings.teraslice.worker_disconnect_timeout_s == 30
    assert settings.teraslice.action_timeout_s == 30
    assert settings.teraslice.slicer_timeout_s == 180
    assert settings.teraslice.shutdown_timeout_s == 60
    assert settings.tsd.controller_lease_s == 15
    assert settings.tsd.max_body_size == 10 * 2**20
    assert settings.teraslice.workers >= 4
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("300000", 300), ('"300000"', 300), ("5 minutes", 300), ("1.5 hours", 5400), ("90s", 90)],
)
def test_durations_are_read_as_people_write_them(load, written, seconds):
    """Conformance point 26 of the cluster facts."""
    settings = load(f"teraslice: {{shutdown_timeout: {written}}}")

    assert settings.teraslice.shutdown_timeout_s == seconds


def test_all_faults_are_named_at_once_with_their_paths(faults):
    found = faults("""
        teraslice:
          port: 70000
          workers: 2.5
          slicer_port_range: abc:def
          shutdown_timeout: soon
          cluster_manager_type: kubernetesV2
        terafoundation: {log_level: loud}
        tsd: {max_body_size: huge}
    """)

    assert found["teraslice.port"] == "must be 1..65535, got 70000"
    assert "whole number" in found["teraslice.workers"]
    assert 'such as "45679:46678"' in found["teraslice.slicer_port_range"]
    assert "native" in found["teraslice.cluster_manager_type"]
    assert "trace, debug" in found["terafoundation.log_level"]
    assert len(found) == 7


def test_a_misspelt_setting_is_a_fault_that_names_the_right_one(faults):
    found = faults("teraslice: {shutdown_timout: 1000}\nterasice: {}")

    assert "did you mean shutdown_timeout?" in found["teraslice.shutdown_timout"]
    assert "did you mean teraslice?" in found["terasice"]


def test_a_fault_of_one_node_names_the_node(faults):
    found = faults("tsd: {nodes: {a: {workers: 2}, b: {workers: -1}}}")

    assert found == {"tsd.nodes": "b.workers must be 0..100000, got -1"}


def test_a_file_that_must_not_be_read_names_who_has_to(tmp_path):
    who = os.geteuid() or 65534
    (tmp_path / "tsd.yaml").touch(mode=0)
    os.seteuid(who)
    try:
        with pytest.raises(ConfigError) as caught:
            load_settings(tmp_path / "tsd.yaml")
    finally:
        os.seteuid(os.getuid())

    name = pwd.getpwuid(who).pw_name
    assert dict(caught.value.faults) == {"": f"Permission denied: the user {name} must be able to read it"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tsd: {labels: {day: 2026-02-30}}", "day is out of range for month"),
        (f"teraslice: {{workers: {'9' * 5000}}}", "4300 digits"),
        ("teraslice: {workers: !!int many}", "invalid literal"),
        ("terafoundation: {connectors: &a {x: *a}}", "holds itself"),
        ("tsd: {labels: &a !!pairs [x: *a]}", "holds itself"),
        (f"tsd: {{labels: {'[' * 3000}{']' * 3000}}}", "nested too deeply"),
    ],
)
def test_what_no_setting_can_be_made_of_is_a_fault_too(faults, text, said):
    """A file that is read again must never end the daemon."""
    ((_, message),) = faults(text).items()

    assert said in message


def test_a_setting_given_twice_is_a_fault(faults):
    found = faults("teraslice:\n  port: 1\n  port: 2\n")

    assert found["teraslice.port"] == "is given twice, again in line 3"


@pytest.mark.parametrize(
    "written", ["45679", "1:2:3", "abc:def", "5000:5000", "6000:5000", "0:5000", "5000:70000"]
)
def test_a_port_range_is_two_rising_ports(faults, written):
    """Conformance point 27 of the cluster facts."""
    assert list(faults(f"teraslice: {{slicer_port_range: '{written}'}}")) == ["teraslice.slicer_port_range"]


def test_a_port_range_is_never_read_as_a_number_of_base_60(load):
    assert load("teraslice: {slicer_port_range: 40000:40059}").teraslice.slicer_port_range == (40000, 40059)
    assert load("teraslice: {slicer_port_range: 9:59}").teraslice.slicer_port_range == (9, 59)


def test_ports_may_not_overlap(faults):
    assert "inside slicer_port_range" in faults("teraslice: {port: 45700}")["teraslice.port"]
    assert "is teraslice.port already" in faults("tsd: {mesh_port: 5678}")["tsd.mesh_port"]


def test_port_0_is_allowed_and_overlaps_with_nothing(load):
    settings = load("teraslice: {port: 0}\ntsd: {mesh_port: 0}")

    assert (settings.teraslice.port, settings.tsd.mesh_port) == (0, 0)


@pytest.mark.parametrize(
    ("setting", "permission"), [("listen", "allow_anonymous"), ("mesh_listen", "allow_plaintext")]
)
def test_an_address_that_others_can_reach_needs_a_word_and_then_warns(load, faults, setting, permission):
    for address in ("0.0.0.0", "10.1.2.3", "'::'", "host.example"):
        assert permission in faults(f"tsd: {{{setting}: {address}}}")[f"tsd.{setting}"]
    for address in ("127.0.0.1", "127.8.8.8", "'::1'", "localhost"):
        assert load(f"tsd: {{{setting}: {address}}}").warnings == ()

    (warning,) = load(f"tsd: {{{setting}: 0.0.0.0, {permission}: true}}").warnings

    assert permission in warning


def test_a_file_written_for_teraslice_loads_with_a_word_on_what_does_nothing(load):
    settings = load("""
        terafoundation:
          environment: development
          log_level: [{console: warn}, {file: debug}]
          prom_metrics_enabled: true
          connectors:
            elasticsearch-next: {default: {node: ["http://127.0.0.1:9200"]}}
        teraslice:
          master: true
          master_hostname: 127.0.0.1
          name: big cluster
          state: {connection: default}
          asset_storage_connection_type: s3
          index_settings: {jobs: {number_of_shards: 1}}
          kubernetes_namespace: default
          memory_execution_controller: 512000000
    """)

    assert settings.teraslice.name == "big cluster"
    assert settings.terafoundation.log_level == LogLevels(console="warn", file="debug")
    assert settings.terafoundation.connectors["elasticsearch-next"]["default"]["node"]
    ignored = {warning.split()[0] for warning in settings.warnings}
    assert ignored == {
        "terafoundation.environment",
        "terafoundation.prom_metrics_enabled",
        "teraslice.master",
        "teraslice.state",
        "teraslice.asset_storage_connection_type",
        "teraslice.index_settings",
        "teraslice.kubernetes_namespace",
        "teraslice.memory_execution_controller",
    }


def test_overrides_win_over_the_file_and_are_checked_like_it(load):
    settings = load("teraslice: {port: 6000}", {"teraslice.port": 7000, "teraslice.workers": None})

    assert settings.teraslice.port == 7000
    with pytest.raises(ConfigError, match=r"teraslice\.port: must be 1\.\.65535, got -1"):
        load("", {"teraslice.port": -1})


def test_one_file_serves_several_nodes(load):
    settings = load("""
        teraslice: {workers: 8}
        tsd:
          labels: {site: a}
          nodes:
            big: {workers: 32, hostname: 10.0.0.5, labels: {disk: fast}}
    """)

    big, other = settings.for_node("big"), settings.for_node("other")

    assert (big.teraslice.workers, big.teraslice.hostname, big.node_id) == (32, "10.0.0.5", "big")
    assert big.tsd.labels == {"site": "a", "disk": "fast"}
    assert (other.teraslice.workers, other.teraslice.hostname) == (8, None)
    assert settings.for_node("big", workers=0).teraslice.workers == 0


def test_the_data_folder_is_systemds_then_the_users(tmp_path):
    def data_dir(**environ):
        return str(load_settings(environ=environ).tsd.data_dir)

    assert data_dir(STATE_DIRECTORY="/var/lib/tsd:/var/lib/more", XDG_DATA_HOME="/x") == "/var/lib/tsd"
    assert data_dir(XDG_DATA_HOME="/x") == "/x/tsd"
    assert data_dir() == os.path.expanduser("~/.local/share/tsd")


def test_paths_are_taken_from_the_file_and_defaults_lie_in_the_data_folder(load, tmp_path):
    settings = load("teraslice: {assets_directory: bundles}\ntsd: {data_dir: state}")

    assert settings.tsd.data_dir == tmp_path / "state"
    assert settings.teraslice.assets_directory == tmp_path / "bundles"
    assert settings.teraslice.autoload_directory == tmp_path / "state" / "autoload"
    assert settings.terafoundation.log_path == tmp_path / "state"


def test_the_file_is_found_by_option_then_by_variable(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"teraslice: {{name: {name}}}")
    environ = {"TSD_CONFIG": str(tmp_path / "a")}

    assert load_settings(environ=environ).teraslice.name == "a"
    assert load_settings(tmp_path / "b", environ=environ).teraslice.name == "b"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: [1", "line 1"),
        (b"- a\n", "must be a mapping"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"teraslice: 5", "must be a mapping of settings, got 5"),
        (b"a: &x {b: *x}", "is no section"),
        (b"? [1, 2]\n: 3", "YAML"),
        (b"!!python/object/apply:os.system ['true']", "YAML"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_clear_message(tmp_path, content, complaint):
    """Conformance point 24 of the cluster facts."""
    file = tmp_path / "tsd.yaml"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=complaint) as caught:
        load_settings(file, environ={})

    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_settings(tmp_path / "none.yaml", environ={})


def test_a_section_may_be_empty(load):
    assert load("teraslice:\ntsd:\n") == load("")


def test_logs_to_a_folder_that_is_not_there_are_a_fault(faults):
    found = faults("terafoundation: {logging: [console, file], log_path: /no/such/folder}")

    assert "is no folder" in found["terafoundation.log_path"]


def test_logs_to_a_folder_in_a_closed_one_are_a_fault(faults, tmp_path):
    open_to_others(tmp_path)
    (tmp_path / "tsd.yaml").touch(0o666)
    (tmp_path / "tsd.yaml").chmod(0o666)
    (tmp_path / "closed").mkdir(mode=0o700)

    with unprivileged():
        found = faults(f"terafoundation: {{logging: [file], log_path: {tmp_path}/closed/logs}}")

    assert "is no folder" in found["terafoundation.log_path"]


def test_a_node_on_loopback_links_says_so_and_one_on_a_network_gives_a_real_address(load):
    assert advertised_host(load("")) == "127.0.0.1"
    open_mesh = "tsd: {mesh_listen: %s, allow_plaintext: true}\nteraslice: {master_hostname: 127.0.0.1}"
    assert advertised_host(load(open_mesh % "10.9.8.7")) == "10.9.8.7"
    assert advertised_host(load(open_mesh % "0.0.0.0")) == "127.0.0.1"
    assert advertised_host(load("teraslice: {hostname: me.example}")) == "me.example"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    f"{section}.{key}"
    for section, keys in {
        "terafoundation": ["connectors", "log_level", "logging", "log_path"],
        "teraslice": ["port", "workers", "slicer_port_range", "shutdown_timeout", "env_vars", "hostname"],
        "tsd": ["listen", "max_body_size", "nodes", "labels", "operation_modules", "allow_anonymous"],
    }.items()
    for key in keys
]


@given(st.dictionaries(st.sampled_from(NAMES), PLAIN, max_size=4))
def test_whatever_stands_in_a_setting_is_read_or_is_a_fault_with_its_path(values):
    paths = set()
    try:
        load_settings(overrides=values, environ={})
    except ConfigError as error:
        paths = {path for path, _ in error.faults}

    assert paths <= set(NAMES) | {"tsd.mesh_port"}


def test_a_digest_stands_for_what_a_file_says(load):
    one = load("tsd: {node_id: a, labels: {x: y, 1: z}}\nteraslice: {workers: 3}").digest

    assert one == load("# a word\nteraslice:\n  workers: 3\ntsd: {labels: {1: z, x: y}, node_id: a}").digest
    assert (
        one
        == load(
            "tsd: {node_id: a, labels: {x: y, 1: z}}\nteraslice: {workers: 3}", {"teraslice.port": 9}
        ).digest
    )
    assert one != load("tsd: {node_id: a, labels: {x: y, 1: z}}\nteraslice: {workers: 4}").digest
    assert load("").digest == load("tsd:\n").digest == load_settings(environ={"HOME": "/x"}).digest


@pytest.mark.parametrize(
    ("hostname", "listed", "node_id"),
    [
        ("big", "big, small", "big"),
        ("big", "big.example, small.example", "big.example"),
        ("big.example", "big, small", "big"),
        ("big", "big.east, big.west", "big"),
        ("big.east", "big.west", "big.east"),
        ("other", "big, small", "other"),
    ],
)
def test_a_host_finds_itself_among_the_nodes_of_the_file(load, monkeypatch, hostname, listed, node_id):
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    nodes = ", ".join(f"{name}: {{workers: 2}}" for name in listed.split(", "))

    settings = load(f"tsd: {{nodes: {{{nodes}}}}}")

    assert settings.node_id == node_id
    assert (note_on_node(settings) == "") == (node_id in listed.split(", "))


def test_a_master_notices_that_it_is_not_where_nodes_look_for_it(load):
    assert note_on_master(load("teraslice: {master_hostname: 127.0.0.1}")) == ""
    # an address for documentation (RFC 5737): nobody's own
    assert "192.0.2.7" in note_on_master(load("teraslice: {master_hostname: 192.0.2.7}"))
    assert "can not be resolved" in note_on_master(load("teraslice: {master_hostname: no.such.invalid}"))
