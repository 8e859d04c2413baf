"""Made by tools/generate_pb.py from protos/. Do not edit: run `make generate`."""

import betterproto2


def _is_pydantic(message: betterproto2.Message) -> bool:
    """Tell what pydantic would. betterproto2 asks it about every message: importing it takes longer than a call."""
    return "__is_pydantic_dataclass__" in vars(type(message))


betterproto2.Message._is_pydantic = _is_pydantic
