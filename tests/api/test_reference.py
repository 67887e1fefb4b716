"""What the API says of itself: true to OpenAPI, to the declarations and to the answers."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from openapi_spec_validator import validate

from tests.support.jobs import job
from tsd.master.api import page
from tsd.master.api.catalogue import ENDPOINTS
from tsd.master.api.endpoint import Answer, Group, Parameter, Query
from tsd.master.api.openapi import describe

DOCUMENT = describe(ENDPOINTS)
PLAIN = {"/", "/health", "/ready", "/jobs", "/ex", "/ex/errors", "/cluster/state", "/cluster/controllers"}


class Outline(HTMLParser):
    """The ids and links of a page, and whether each element is closed."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.open, self.tags = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def operation(method, path):
    return DOCUMENT["paths"][path][method.lower()]


def schema_of(method, path, status):
    content = operation(method, path)["responses"][str(status)]["content"]
    return {**content["application/json"]["schema"], "components": DOCUMENT["components"]}


def check_answer(method, path, answer):
    """The answer has the form that is described for its status."""
    jsonschema.validate(
        answer.json(),
        schema_of(method, path, answer.status_code),
        cls=jsonschema.Draft202012Validator,
    )


# --- /openapi.json ------------------------------------------------------------------------------


def test_the_document_is_openapi():
    validate(DOCUMENT)


def test_the_document_has_every_endpoint_with_all_its_parameters():
    for endpoint in ENDPOINTS:
        found = operation(endpoint.method, re.sub(r"<(\w+)>", r"{\1}", endpoint.path))

        assert found["operationId"] == endpoint.name
        assert [parameter["name"] for parameter in found.get("parameters", [])] == [
            parameter.name for parameter in (*endpoint.path_parameters, *endpoint.query_parameters)
        ]
        assert ("requestBody" in found) is (endpoint.body is not None or endpoint.takes_upload)


def test_every_error_is_a_problem_with_its_headers():
    for path in DOCUMENT["paths"].values():
        for found in path.values():
            for status, described in found["responses"].items():
                shared = described.get("$ref", "").rpartition("/")[2]
                response = DOCUMENT["components"]["responses"][shared] if shared else described
                assert "X-Request-Id" in response["headers"]
                if status >= "400" and found["operationId"] not in {"ready", "delete_asset"}:
                    (media,) = response["content"].values()
                    assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
                    assert ("Retry-After" in response["headers"]) is (status == "503")


def test_a_body_is_described_under_both_types_that_clients_send():
    body = {"$ref": "#/components/schemas/JobBody"}

    assert operation("POST", "/jobs")["requestBody"]["content"] == {
        "application/json": {"schema": body},
        "application/x-www-form-urlencoded": {
            "schema": {"type": "string", "contentMediaType": "application/json", "contentSchema": body}
        },
    }


def test_tables_are_described_as_text():
    assert set(operation("GET", "/txt/jobs")["responses"]["200"]["content"]) == {"text/html"}


@pytest.mark.parametrize("path", ["/openapi.json", "/v1/openapi.json/", "/V1/OpenAPI.json"])
def test_the_document_is_served_on_every_spelling_of_its_path(api, path):
    answer = api.get(path)

    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json() == DOCUMENT


@pytest.mark.parametrize("path", sorted(PLAIN))
def test_answers_have_the_described_form(api, path):
    check_answer("GET", path, api.get(path))


def test_documents_and_problems_have_the_described_form(api):
    posted = api.post("/jobs", json=job())
    check_answer("POST", "/jobs", posted)
    job_id, ex_id = posted.json()["job_id"], posted.json()["ex_id"]

    for method, path, ids in [
        ("GET", "/jobs/{job_id}", job_id),
        ("GET", "/jobs/{job_id}/ex", job_id),
        ("GET", "/ex/{ex_id}", ex_id),
        ("GET", "/ex/{ex_id}", "unknown"),
        ("GET", "/ex/{ex_id}/controller", ex_id),
        ("POST", "/ex/{ex_id}/_pause", ex_id),
        ("POST", "/jobs/{job_id}/_inactive", job_id),
        ("POST", "/jobs/{job_id}/_start", job_id),
        ("POST", "/ex/{ex_id}/_stop", ex_id),
        ("DELETE", "/jobs/{job_id}", job_id),
        ("GET", "/jobs/{job_id}", job_id),
        ("POST", "/jobs/{job_id}/_start", job_id),
    ]:
        check_answer(method, path, api.request(method, re.sub(r"\{\w+\}", ids, path)))


# --- /docs --------------------------------------------------------------------------------------


def test_the_page_shows_every_endpoint_and_document():
    outline = Outline(page.render(ENDPOINTS))

    assert {endpoint.name for endpoint in ENDPOINTS} <= set(outline.ids)
    assert {f"document-{name}" for name in DOCUMENT["components"]["schemas"]} <= set(outline.ids)
    assert len(set(outline.ids)) == len(outline.ids)


def test_the_page_links_to_its_own_parts_and_to_the_document_only():
    outline = Outline(page.render(ENDPOINTS))

    assert {link for link in outline.links if link.removeprefix("#") not in outline.ids} == {"/openapi.json"}
    assert not outline.tags & {"script", "img", "link", "iframe", "form"}
    assert outline.open == []


def test_the_page_escapes_what_it_shows():
    words = "`<b>` & </td><script>alert(1)</script>"

    @Group("<Things>").declare(
        "GET",
        "/things",
        query={
            "thing": Query(
                parameters=(Parameter(name="thing", words=words, schema={"enum": ["<i>"]}, default="<u>"),),
                read=lambda given: given["thing"],
            )
        },
        answer=Answer(str, words),
        errors={404: words},
    )
    async def handler(service, *, thing):
        """See `<x>` here."""

    assert not {"b", "script", "i", "u", "x", "Things"} & Outline(page.render([handler])).tags


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/v1/Docs"])
def test_the_page_may_have_its_own_style_and_nothing_else(api, path):
    answer = api.get(path)
    style = re.search("<style>(.*?)</style>", answer.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; sandbox"
    )
    assert answer.text == page.render(ENDPOINTS)


def test_head_of_the_page_has_no_body(api):
    answer = api.head("/docs")

    assert (answer.status_code, answer.content) == (200, b"")


def test_every_other_answer_may_have_nothing(api):
    for path in ("/txt/jobs", "/jobs", "/nope"):
        assert api.get(path).headers["content-security-policy"] == (
            "default-src 'none'; frame-ancestors 'none'; sandbox"
        )
