"""Every run of the suite tries the same examples; ``--hypothesis-profile random`` looks for new ones."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.register_profile("random", deadline=None, database=None, max_examples=2000)
if settings.get_current_profile_name() == "default":
    settings.load_profile("steady")
