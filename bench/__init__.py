"""What Cupola costs, measured from outside on running programs. Tests of what it does are in `tests`."""
