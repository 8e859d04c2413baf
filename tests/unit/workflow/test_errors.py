"""What a ``catch`` filter means."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.workflow.errors import STANDARD_TYPES, ErrorFilter, Standard, WorkflowError, type_matches


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (STANDARD_TYPES + "communication", Standard.COMMUNICATION.error("x")),
        ("https://serverlessworkflow.io/dsl/errors/types/communication", Standard.COMMUNICATION.error("x")),
        ("https://open-workflow-specification.org/dsl/errors/types/communication", Standard.COMMUNICATION.error("x")),
        (
            STANDARD_TYPES + "runtime",
            WorkflowError("https://open-workflow-specification.org/spec/1.0.0/errors/runtime", 400),
        ),
        ("communication", Standard.COMMUNICATION.error("x")),
        ("BadArgument", Standard.EXPRESSION.error("x")),
        ("http-error://badargument", Standard.VALIDATION.error("x")),
        ("requesttimeout", Standard.TIMEOUT.error("x")),
        ("ServiceUnavailable", Standard.COMMUNICATION.error("x")),
        ("ServiceUnavailable", Standard.CONFIGURATION.error("x", status=503)),
        ("notfound", Standard.COMMUNICATION.error("x", status=404)),
        ("https://example.org/errors/stock", WorkflowError("https://example.org/errors/stock", 409)),
        ("stock", WorkflowError("https://example.org/errors/stock", 409)),
        ("https://example.org/errors/stock", WorkflowError("https://example.org/errors/{kind}", 409)),
    ],
)
def test_a_type_means_the_error(wanted: str, error: WorkflowError) -> None:
    assert type_matches(wanted, error)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("badargument", Standard.TIMEOUT.error("x")),
        ("notfound", Standard.COMMUNICATION.error("x")),
        ("serviceunavailable", Standard.CONFIGURATION.error("x")),
        ("https://other.org/stock", WorkflowError("https://example.org/errors/stock", 409)),
        ("badargument", WorkflowError("https://example.org/validation", 400)),
        ("https://example.org/errors/a", WorkflowError("https://example.org/{kind}/b", 409)),
    ],
)
def test_a_type_does_not_mean_the_error(wanted: str, error: WorkflowError) -> None:
    assert not type_matches(wanted, error)


def test_every_member_of_a_filter_must_match() -> None:
    error = WorkflowError("https://example.org/stock", 409, "Out of stock", "none left", "/do/0/r")
    assert ErrorFilter().matches(error)
    assert ErrorFilter(status=409, title="Out of stock", details="none left", instance="/ROOT/do/0/r").matches(error)
    assert not ErrorFilter(status=409, title="other").matches(error)
    assert not ErrorFilter(details="none left").matches(WorkflowError("https://example.org/stock", 409))
    assert not ErrorFilter(instance="/do/1").matches(error)


def test_an_error_keeps_its_first_place_and_comes_back_from_json() -> None:
    error = Standard.TIMEOUT.error("too slow").at("/do/0/a").at("/do/0")
    assert error.as_json() == {
        "type": STANDARD_TYPES + "timeout",
        "status": 408,
        "title": "too slow",
        "instance": "/do/0/a",
    }
    assert WorkflowError.from_json(error.as_json()).as_json() == error.as_json()
    assert str(error) == "too slow: at /do/0/a"
