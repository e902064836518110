"""Cupola keeps an unattended camera running: live view, captures, and a truthful account of both."""

__version__ = "0.1.0"
