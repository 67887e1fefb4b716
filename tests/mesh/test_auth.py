import pytest

from tsd.errors import ConfigError
from tsd.mesh.auth import check_bind, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_may_be_bound_in_plaintext(host):
    check_bind(host, allow_plaintext=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "::", "10.0.0.5", "node-1", "localhost.example.org", ""])
def test_any_other_bind_must_be_allowed_in_plaintext(host):
    with pytest.raises(ConfigError, match="allow_plaintext"):
        check_bind(host, allow_plaintext=False)
    check_bind(host, allow_plaintext=True)
    assert not is_loopback(host)
