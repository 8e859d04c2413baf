"""Bytes that are no settings, or no args, of a runner: who made the mistake is told by the kind of error."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.runners.messages import args_of, settings_of
from jobworkerp_standalone.schema.messages import message_class

KIND = message_class("jobworkerp.runner.CommandArgs")
CUT = b"\x0a\xff"
"""A field that is longer than the bytes."""


def test_settings_that_are_none_fail_the_worker_for_good() -> None:
    with pytest.raises(Fatal, match=r"the settings are not a jobworkerp\.runner\.CommandArgs: "):
        settings_of(KIND, CUT)


def test_args_that_are_none_are_the_clients_mistake() -> None:
    with pytest.raises(BadInput, match=r"the args are not a jobworkerp\.runner\.CommandArgs: "):
        args_of(KIND, CUT)


def test_what_is_right_is_the_message() -> None:
    given = KIND(command="ls")
    assert settings_of(KIND, given.SerializeToString()) == args_of(KIND, given.SerializeToString()) == given
