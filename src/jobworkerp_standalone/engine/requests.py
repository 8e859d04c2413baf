"""What a request must fulfil before its job is accepted."""

from __future__ import annotations

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import NewJob, OutputType, StreamingType
from jobworkerp_standalone.runners.spec import RunnerSpec


def check_method(spec: RunnerSpec, new: NewJob, *, feeding: bool) -> None:
    """Check that the runner has the method, and that it answers in the way that is asked for.

    Raises:
        InvalidRequest: it does not.
    """
    method = spec.method(new.using)
    if method is None:
        raise InvalidRequest(
            f"using {new.using!r} is not a method of runner {spec.name}; use one of: {', '.join(sorted(spec.methods))}"
        )
    streaming = new.streaming is not StreamingType.NONE
    if streaming and method.output_type is OutputType.NON_STREAMING:
        raise InvalidRequest(
            f"method {method.name!r} of runner {spec.name} does not support streaming; use Enqueue instead"
        )
    if not streaming and method.output_type is OutputType.STREAMING:
        raise InvalidRequest(
            f"method {method.name!r} of runner {spec.name} does not support non-streaming; use EnqueueForStream instead"
        )
    if method.require_client_stream and not feeding:
        raise InvalidRequest(
            f"method {method.name!r} of runner {spec.name} needs a client stream; use EnqueueWithClientStream"
        )
    if feeding and not method.require_client_stream:
        raise InvalidRequest(
            f"method {method.name!r} of runner {spec.name} takes no client stream; use EnqueueForStream"
        )
