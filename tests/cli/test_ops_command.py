"""`tsd ops`: what people and programs see of operations."""

import json
import sys

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from tsd.cli.main import cli
from tsd.operations.registry import Registry

MODULE = """
from tsd.operations import Api, MapProcessor, OpConfig, api, operation, opt
import attrs

@attrs.define(kw_only=True)
class GreetConfig(OpConfig):
    greeting: str = opt("Hello", choices=("Hello", "Bye"), doc="what to say")
    who: str = opt(doc="field with the name")
    loud: bool = opt(False, doc="shout", deprecated="use upper")
    token: str = opt("t0k3n", doc="of the greeter", secret=True)

@operation("OP_NAME", config=GreetConfig)
class Greet(MapProcessor):
    \"\"\"Greets people.

    In every record.
    \"\"\"

@api("greet")
class GreetApi(Api):
    \"\"\"Also greets.\"\"\"
"""


@pytest.fixture
def tsd_ops(monkeypatch):
    monkeypatch.delenv("TSD_CONFIG", raising=False)
    return lambda *args: CliRunner().invoke(cli, ["ops", *map(str, args)])


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A bundle whose module has a name that no other test has, and that is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ops_command_sample.py").write_text(MODULE.replace("OP_NAME", "greet"))
    manifest = {"name": "greetings", "version": "1.0.0", "module": "ops_command_sample"}
    (tmp_path / "asset.json").write_text(json.dumps(manifest))
    yield tmp_path
    sys.modules.pop("ops_command_sample", None)


def test_the_list_has_every_operation_by_kind_with_a_line(tsd_ops):
    result = tsd_ops("list")

    blocks = dict(block.split("\n", 1) for block in result.output.strip().split("\n\n"))
    assert list(blocks) == ["Readers", "Processors", "APIs"]
    names = [line.split()[0] for block in blocks.values() for line in block.splitlines()]
    assert sorted(names) == sorted(definition.name for definition in Registry().definitions())
    assert "  noop " in blocks["Processors"]
    assert "Passes the batch through." in blocks["Processors"]


def test_the_list_is_there_for_programs_too(tsd_ops):
    entries = json.loads(tsd_ops("list", "--json").output)

    assert {"name": "noop", "kind": "processor", "description": "Passes the batch through."} in entries


def test_show_prints_doc_and_options(tsd_ops, bundle):
    result = tsd_ops("show", "greet", "--kind", "processor", "--bundle", bundle)

    assert result.exit_code == 0
    assert result.output.startswith("greet (processor)\n\nGreets people.\n\nIn every record.\n\nOptions\n")
    for text in (
        '  greeting: Hello | Bye, default "Hello"\n      what to say\n',
        "  who: string, required\n      field with the name\n",
        "  loud: boolean, default false\n      shout (deprecated: use upper)\n",
        "  token: string, default hidden\n",
        "Options that all have\n  _dead_letter_action: string",
    ):
        assert text in result.output
    assert "t0k3n" not in result.output


def test_show_prints_a_schema_that_editors_understand(tsd_ops, bundle):
    schema = json.loads(tsd_ops("show", "greet", "--kind", "processor", "--json", "--bundle", bundle).output)
    Draft202012Validator.check_schema(schema)

    assert Draft202012Validator(schema).is_valid({"_op": "greet", "who": "name", "greeting": "Bye"})
    assert not Draft202012Validator(schema).is_valid({"_op": "greet", "who": "name", "greeting": "Moin"})
    assert "t0k3n" not in json.dumps(schema)


def test_two_things_of_one_name_are_both_shown_but_have_two_schemas(tsd_ops, bundle):
    both = tsd_ops("show", "greet", "--bundle", bundle)
    schema = tsd_ops("show", "greet", "--json", "--bundle", bundle)

    assert "greet (api)" in both.output
    assert "greet (processor)" in both.output
    assert (schema.exit_code, schema.output) == (
        1,
        "tsd: several things are named greet; add one of --kind api, --kind processor\n",
    )


def test_modules_of_the_cluster_file_are_shown(tsd_ops, bundle, tmp_path):
    config = tmp_path / "cluster.yaml"
    config.write_text("tsd:\n  operation_modules: [ops_command_sample]\n")

    assert "Greets people." in tsd_ops("list", "--config", config).output
    assert tsd_ops("show", "greet", "--config", config).exit_code == 0


def test_an_unknown_name_gets_a_hint_and_exit_code_1(tsd_ops):
    near, far = tsd_ops("show", "nop"), tsd_ops("show", "zzz")

    assert (near.exit_code, near.output) == (
        1,
        "tsd: there is no operation or API named nop; did you mean noop?\n",
    )
    assert "`tsd ops list` shows what there is" in far.output


def test_a_folder_that_is_no_bundle_and_a_module_that_fails_are_named(tsd_ops, tmp_path):
    config = tmp_path / "cluster.yaml"
    config.write_text("tsd:\n  operation_modules: [no_such_module]\n")

    assert "has no asset.json" in tsd_ops("list", "--bundle", tmp_path).output
    output = tsd_ops("list", "--config", config).output
    assert "Unable to load operation module no_such_module" in output
    assert "or name its folder in PYTHONPATH" in output


def test_the_schema_of_jobs_has_the_operations_of_bundles(tsd_ops, bundle):
    validator = Draft202012Validator(json.loads(tsd_ops("schema", "--bundle", bundle).output))
    job = {"operations": [{"_op": "test-reader"}, {"_op": "greet", "who": "name"}]}

    assert validator.is_valid(job)
    job["operations"][1]["who"] = 5
    assert not validator.is_valid(job)
