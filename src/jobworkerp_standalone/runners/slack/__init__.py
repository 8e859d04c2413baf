"""SLACK_POST_MESSAGE: posts one message to a channel by ``chat.postMessage``.

- A reply that is not ``ok`` fails the job; whether it may pass is told by Slack's error.
- Too many requests: waits as long as Slack asks for, within the job's deadline, then tries again.
- A job that ends early closes its connection: the message may be posted all the same.
"""

from jobworkerp_standalone.runners.slack.runner import make

__all__ = ["make"]
