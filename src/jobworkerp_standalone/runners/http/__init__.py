"""HTTP_REQUEST: sends one request and returns, or streams, the answer.

- The path of the args is resolved against ``base_url`` and stays on its host, unless the worker allows more.
- Any answer is a success, also 4xx and 5xx, unless ``treat_error_status_as_error`` is set. No answer is a failure
  that may pass.
- Redirects are followed, at most 10; credentials do not go along to another host.
- Connections are kept for the next job with the same settings.
"""

from jobworkerp_standalone.runners.http.runner import make

__all__ = ["make"]
