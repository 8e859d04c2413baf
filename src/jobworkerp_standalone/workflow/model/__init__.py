"""The document as the engine reads it: immutable, names resolved, expressions compiled, durations in milliseconds.

``document`` holds the whole, ``tasks`` one class per task kind, ``calls``, ``runs`` and ``events`` what such tasks
carry, ``auth`` and ``values`` the smaller parts.
"""
