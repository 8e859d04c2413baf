"""What an engine has to say: apart from all else, since a helper process loads little more than this and its engine."""


class EvaluationFailed(Exception):
    """An engine's message on its way to the `ExpressionError` that says which expression it was."""


class HelperEnded(EvaluationFailed):
    """The process that evaluated it ended over it."""
