"""The configuration: one tree of keys, read from YAML, checked as a whole, explained in words.

`load` finds and reads the file, `model` says what may stand in it, `schema` prints what it says.
Nothing is imported here, so that a command that needs no configuration does not pay for pydantic.
"""
