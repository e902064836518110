"""`python -m cupola` is the same as `cupola`."""

from cupola.cli import main

main()
