"""What child processes see of the daemon's environment."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.runners.environment import ChildEnvironment


@pytest.mark.parametrize(
    "secret",
    [
        "AUTH_TOKEN",
        "JOBWORKERP_AUTH_TOKEN",
        "REDIS_PASSWORD",
        "MYSQL_PASSWORD",
        "REDIS_URL",
        "SQLITE_URL",
        "MYSQL_URL",
        "POSTGRES_URL",
        "DATABASE_URL",
        "WORKFLOW_SECRET_API",
        "OTLP_AUTH_TOKEN",
    ],
)
def test_secrets_of_the_daemon_stay_with_it(secret: str) -> None:
    environment = ChildEnvironment({secret: "s", "HOME": "/root", "PATH": "/bin"})
    assert environment.with_variables({}) == {b"HOME": b"/root", b"PATH": b"/bin"}


def test_further_variables_are_denied_by_pattern() -> None:
    environment = ChildEnvironment({"AWS_SECRET": "s", "aws_secret": "kept", "X1": "s", "X22": "kept"}, ["AWS_*", "X?"])
    assert environment.with_variables({}) == {b"aws_secret": b"kept", b"X22": b"kept"}


def test_variables_of_a_job_are_added_and_win_and_stay_with_it() -> None:
    environment = ChildEnvironment({"A": "daemon", "B": "daemon", "AUTH_TOKEN": "daemon"})
    assert environment.with_variables({"B": "jöb", "AUTH_TOKEN": "job"}) == {
        b"A": b"daemon",
        b"B": "jöb".encode(),
        b"AUTH_TOKEN": b"job",
    }
    assert environment.with_variables({}) == {b"A": b"daemon", b"B": b"daemon"}


def test_values_that_are_not_text_pass_unchanged() -> None:
    assert ChildEnvironment({"A": "\udcff"}).with_variables({}) == {b"A": b"\xff"}
