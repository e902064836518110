"""Frames, stills, clips and events over Redis streams: a station's side, and that of whoever receives."""
