"""What all tests share."""

from hypothesis import HealthCheck, settings

# How fast an example runs says nothing on a shared machine, and must not fail a test.
settings.register_profile("tsd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tsd")
