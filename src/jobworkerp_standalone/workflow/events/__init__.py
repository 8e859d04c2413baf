"""Listening: what a run has heard, which events are meant, and when enough came."""
