"""The code that makes its holder the first admin. It is in the server's memory only, goes out by the owner's terminal, and works once."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cupola.core.errors import CupolaError
from cupola.web.access.passwords import new_code

WRONG_MAX = 5
LAN_S = 15 * 60.0


class WrongCode(CupolaError):
    """Look at the terminal again: the code may be a new one."""


class Claim:
    """`renewed` is told of a new code that came about by wrong ones."""

    def __init__(self, renewed: Callable[[str], None]) -> None:
        self._renewed = renewed
        self._code, self._wrong = new_code(), 0

    @property
    def code(self) -> str:
        return self._code

    def check(self, given: str) -> None:
        """Raises WrongCode. It is used up by `use_up`, not by this: the passphrase may be refused yet."""
        if hmac.compare_digest(_plain(given).encode(), _plain(self._code).encode()):
            return
        self._wrong += 1
        if self._wrong >= WRONG_MAX:
            self.use_up()
            self._renewed(self._code)
            raise WrongCode("This code is wrong, and was tried too often. There is a new one where Cupola was started; `cupola claim` prints it too.")
        raise WrongCode("This code is wrong. The one in force was printed where Cupola was started; `cupola claim` prints it again.")

    def use_up(self) -> None:
        self._code, self._wrong = new_code(), 0


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()


def link(url: str, code: str) -> str:
    """The address to open. The code is in the fragment, which browsers do not send and proxies do not log."""
    return f"{url}/#claim={code}"
