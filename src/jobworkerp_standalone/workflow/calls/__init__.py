"""What ``call`` tasks call, one module for each kind, with what they share: secrets, credentials, resources, answers.

Whatever is asked over the network for its own sake is a job of its own. Its args as others may see them hide what came
from secrets; the runner gets the real ones (``ChildOrder.secret``).
"""
