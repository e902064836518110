"""The simulator's world: where things stand in the sky, what light they send, what a sensor makes of it.

Standard library, numpy and the star catalogue only. Time is a plain number everywhere: seconds since 1970, UTC.
"""
