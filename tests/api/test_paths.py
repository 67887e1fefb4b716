import pytest

from tsd.master.api.paths import canonical_path


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", "/"),
        ("/v1", "/"),
        ("/V1/", "/"),
        ("/jobs", "/jobs"),
        ("/v1/jobs/", "/jobs"),
        ("/V1/JOBS/AbC/_STOP", "/jobs/AbC/_stop"),
        ("/jobs/AbC/Slicer", "/jobs/AbC/controller"),
        ("/ex/AbC/slicer/", "/ex/AbC/controller"),
        ("/EX/Errors", "/ex/errors"),
        ("/ex/Errors/errors", "/ex/errors/errors"),
        ("/cluster/slicers", "/cluster/controllers"),
        ("/v1/txt/Slicers", "/txt/controllers"),
        ("/Assets/Name/1.0.0", "/assets/Name/1.0.0"),
        ("/TXT/assets/Name", "/txt/assets/Name"),
        ("/v1/v1/jobs", "/v1/jobs"),
    ],
)
def test_every_spelling_of_a_path_has_one_form(path, canonical):
    """Covers 1, 5 and 8 of rest-api.md."""
    assert canonical_path(path) == canonical


@pytest.mark.parametrize("path", ["//", "//jobs", "/jobs//ex", "/jobs/x//"])
def test_a_path_with_an_empty_segment_stays_as_it_is(path):
    assert canonical_path(path) == path
