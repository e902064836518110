"""What the command `cupola` starts, and `python -m cupola`. The status server begins here, before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:2] == ["status-server"]:
        from cupola.status.server import serve, words

        if (place := words(sys.argv[2:])) is not None:
            sys.exit(serve(*place))
    from cupola.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
