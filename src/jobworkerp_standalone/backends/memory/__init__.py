"""Promises kept in this process's memory."""
