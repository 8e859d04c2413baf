"""The gRPC edge: sockets, HTTP/2, messages, the token, errors, health, reflection; and one file per service.

The way of a call: ``first_bytes`` tells who speaks on a connection, ``protocol`` and ``connection`` are HTTP/2 on it,
``edge`` opens the call and answers for its end, ``stream`` is what a service method reads from and writes to, ``codec``
turns bytes into values and back. ``server`` binds the addresses and stops in order.
"""
