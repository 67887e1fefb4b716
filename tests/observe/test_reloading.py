"""What is said of settings that a reload changes."""

from tsd.observe.log import redact
from tsd.observe.reloading import changes_between
from tsd.settings import load_settings


def test_no_value_of_a_connection_or_a_variable_is_said(tmp_path):
    def settings(secret, name):
        file = tmp_path / "tsd.yaml"
        file.write_text(f"""
            terafoundation: {{connectors: {{db: {{default: {{dsn: "host=h key={secret}", {name}: 1}}}}}}}}
            teraslice: {{env_vars: {{DSN: {secret}}}}}
        """)
        return load_settings(file, environ={"HOME": "/nowhere"})

    changes = {each.setting: each for each in changes_between(settings("s3cr", "a"), settings("t4ds", "b"))}

    assert not any(word in str(changes) for word in ("s3cr", "t4ds"))
    connectors = changes["terafoundation.connectors"]
    assert connectors.was == "{'db': {'default': {'dsn': '***', 'a': '***'}}}"
    assert connectors.now == "{'db': {'default': {'dsn': '***', 'b': '***'}}}"
    assert changes["teraslice.env_vars"].now == "another value, which is hidden"


def test_a_password_in_an_address_is_hidden_wherever_it_stands():
    assert redact({"reason": "postgres://me:s3cr@host:5432/db and redis://:s3cr@host do not answer"}) == {
        "reason": "postgres://me:***@host:5432/db and redis://:***@host do not answer"
    }
    for harmless in ("tcp://[::1]:5679", "http://host:80/a@b", "user:name@host", "s3://bucket/key"):
        assert redact(harmless) == harmless
