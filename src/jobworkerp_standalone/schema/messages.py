"""Message classes of our own protos, on the C protobuf runtime.

The compiled descriptors are read from the package on first use and live in a private pool: nothing here meets the
process-wide default pool, so a plugin may carry a proto of the same name.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


@cache
def file_descriptor_set_bytes() -> bytes:
    """Return the serialized ``FileDescriptorSet`` of every proto we publish, dependencies first."""
    return (files("jobworkerp_standalone") / "pb" / "descriptors.binpb").read_bytes()


@cache
def descriptor_pool() -> DescriptorPool:
    """Return the one pool that knows every proto we publish."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(file_descriptor_set_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message_class(full_name: str) -> type[Message]:
    """Return the class of a message by its full name, for example ``jobworkerp.runner.CommandArgs``.

    Raises:
        KeyError: no proto of ours declares it.
    """
    return GetMessageClass(descriptor_pool().FindMessageTypeByName(full_name))
