"""Secrets are taken out of what programs print."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.runners.redaction import hide_named


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("API_TOKEN=abcdef", "API_TOKEN=***"),
        ("password: hunter22, next", "password: ***, next"),
        ('{"client_secret": "s3cr3t", "name": "x"}', '{"client_secret": "***", "name": "x"}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("?api_key=abcdef&q=1", "?api_key=***&q=1"),
        ("the key is under the mat", "the key is under the mat"),
        ("42 tokens read", "42 tokens read"),
    ],
)
def test_values_of_names_like_secrets_are_hidden(said: str, shown: str) -> None:
    assert hide_named(said) == shown
