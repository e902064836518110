"""Developing: originals become JPEGs in a process of their own, beside the cameras and never in their way."""
