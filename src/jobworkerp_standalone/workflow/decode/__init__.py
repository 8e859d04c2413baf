"""From a tree of values to the model; every mistake is noted and reading goes on.

Where a part is wrong its reader notes the problem and returns some value of the right type, which nobody sees: a
document with problems is never handed out.
"""
