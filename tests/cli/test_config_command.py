import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

import tsd
from tsd.cli.main import cli
from tsd.cli.reference import generated_files
from tsd.settings import load_settings


@pytest.fixture
def tsd_command(monkeypatch):
    monkeypatch.delenv("TSD_CONFIG", raising=False)
    return lambda *args: CliRunner().invoke(cli, args)


def test_the_version_is_printed(tsd_command):
    result = tsd_command("--version")

    assert (result.exit_code, result.output) == (0, f"tsd, version {tsd.__version__}\n")


@pytest.mark.parametrize("command", [[], ["up"], ["master"], ["node"], ["run"], ["config", "check"]])
def test_every_command_explains_itself(tsd_command, command):
    result = tsd_command(*command, "--help")

    assert result.exit_code == 0
    assert "Usage: tsd" in result.output or "Usage: cli" in result.output


def test_help_needs_nothing_heavy(tmp_path):
    """So that `tsd --help` answers at once."""
    code = "import sys, tsd.cli.main; print([m for m in ('trio', 'zmq', 'yaml', 'quart', 'rich.console') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert output == "[]\n"


def test_the_supervisor_needs_nothing_that_must_not_be_forked():
    """Forking with an event loop, a ZeroMQ context or SQLite open breaks the child."""
    code = "import sys, tsd.cli.up; print([m for m in ('trio', 'zmq', 'sqlite3') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert output == "[]\n"


def test_check_accepts_a_good_file_and_shows_its_warnings(tsd_command, tmp_path):
    file = tmp_path / "tsd.yaml"
    file.write_text("teraslice: {master: true}")

    result = tsd_command("config", "check", str(file))

    assert result.exit_code == 0
    assert f"{file}: ok" in result.stdout
    assert "warning: teraslice.master is ignored" in result.stderr


def test_check_names_every_fault_and_exits_with_78(tsd_command, tmp_path):
    file = tmp_path / "tsd.yaml"
    file.write_text("teraslice: {port: 70000, wrkers: 2}")

    result = tsd_command("config", "check", str(file))

    assert result.exit_code == 78
    assert "teraslice.port: must be 1..65535, got 70000" in result.stderr
    assert "teraslice.wrkers: is no setting; did you mean workers?" in result.stderr


@pytest.mark.parametrize("command", [["up"], ["master"], ["node"], ["run"]])
def test_every_daemon_refuses_a_wrong_file_with_78(tsd_command, tmp_path, command):
    file = tmp_path / "tsd.yaml"
    file.write_text("teraslice: {shutdown_timeout: soon}")
    if command[0] == "run":
        job = tmp_path / "job.json"
        job.write_text("{}")
        command = ["run", str(job)]

    result = tsd_command(*command, "--config", str(file))

    assert result.exit_code == 78
    assert "teraslice.shutdown_timeout" in result.stderr


@pytest.mark.parametrize("content", ["{", "", None])
def test_run_refuses_a_job_file_that_is_no_json(tsd_command, tmp_path, content):
    job = tmp_path / "job.json"
    if content is not None:
        job.write_text(content)

    result = tsd_command("run", str(job))

    assert result.exit_code == 78
    assert str(job) in result.stderr


def test_shown_settings_load_to_the_same_settings(tsd_command, tmp_path):
    file = tmp_path / "tsd.yaml"
    file.write_text("""
        teraslice: {port: 6000, shutdown_timeout: 1.5 minutes}
        tsd: {nodes: {big: {workers: 9}}, labels: {site: a}}
    """)
    shown = tmp_path / "shown.yaml"

    shown.write_text(tsd_command("config", "show", "--config", str(file)).stdout)

    first, second = load_settings(file), load_settings(shown)
    assert (first.terafoundation, first.teraslice, first.tsd) == (
        second.terafoundation,
        second.teraslice,
        second.tsd,
    )


def test_shown_settings_hide_secrets(tsd_command, tmp_path):
    file = tmp_path / "tsd.yaml"
    file.write_text("terafoundation: {connectors: {s3: {default: {secretAccessKey: hunter2, region: eu}}}}")

    output = tsd_command("config", "show", "--config", str(file)).stdout

    assert "hunter2" not in output
    assert "region: eu" in output


@pytest.mark.parametrize("path", list(generated_files()))
def test_generated_files_are_up_to_date(path, pytestconfig):
    """`make docs` writes them."""
    assert (pytestconfig.rootpath / path).read_text() == generated_files()[path]


def test_the_embedded_file_says_the_defaults(pytestconfig, tmp_path):
    text = (pytestconfig.rootpath / "config/embedded.yaml").read_text()
    uncommented = tmp_path / "all.yaml"
    uncommented.write_text(
        "\n".join(line.replace("  #", "  ", 1) if line[3:4].isalpha() else line for line in text.splitlines())
    )

    every_setting = load_settings(uncommented, environ={})

    assert sum(len(section) for section in yaml.safe_load(uncommented.read_text()).values()) > 40
    defaults = load_settings(environ={})
    assert (every_setting.terafoundation, every_setting.teraslice, every_setting.tsd) == (
        defaults.terafoundation,
        defaults.teraslice,
        defaults.tsd,
    )
    assert load_settings(pytestconfig.rootpath / "config/embedded.yaml", environ={}).tsd == defaults.tsd


def test_the_file_for_several_hosts_opens_the_cluster_to_them(pytestconfig):
    settings = load_settings(pytestconfig.rootpath / "config/several-hosts.yaml", environ={})

    assert settings.teraslice.master_hostname == "master.example"
    assert settings.for_node("big.example").teraslice.workers == 16
    assert len(settings.warnings) == 2


def test_check_without_a_file_takes_the_one_that_daemons_would_read(tmp_path, monkeypatch):
    file = tmp_path / "tsd.yaml"
    file.write_text("teraslice: {prot: 1}\n")
    monkeypatch.setenv("TSD_CONFIG", str(file))

    result = CliRunner().invoke(cli, ["config", "check"])

    assert result.exit_code == 78
    assert f"{file}: the cluster file is wrong" in result.output
