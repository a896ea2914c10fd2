"""When asking on is no use: a wrong key, an empty account, a service that is down."""

from __future__ import annotations

import re
from typing import Any, Final

from langchain_core import exceptions

_HOPELESS_IN_A_ROW: Final = 3
_ANY_IN_A_ROW: Final = 20
_STATUS: Final = {401, 402, 403, 429}
_KINDS: Final = tuple(
    getattr(exceptions, name)
    for name in ("ModelAuthenticationError", "ModelPermissionDeniedError", "ModelRateLimitError")
    if hasattr(exceptions, name)  # later than the oldest LangChain that will do
)
_NAMES: Final = re.compile(
    r"Authentication|Unauthorized|PermissionDenied|Forbidden|Quota|RateLimit|ResourceExhausted|Billing"
)


class Streak:
    """Counts pictures that failed one after the other.

    Attributes:
        reason: Why asking is over; `""` while it is not.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._hopeless = 0
        self._any = 0

    def succeeded(self) -> None:
        """A picture went well."""
        self._hopeless = self._any = 0

    def failed(self, error: Exception) -> None:
        """A picture did not."""
        self._any += 1
        self._hopeless = self._hopeless + 1 if is_hopeless(error) else 0
        if self._hopeless >= _HOPELESS_IN_A_ROW or self._any >= _ANY_IN_A_ROW:
            count = self._hopeless if self._hopeless >= _HOPELESS_IN_A_ROW else self._any
            self.reason = f"{count} pictures in a row failed, the last with {told(error)}"


def is_hopeless(error: Exception) -> bool:
    """Whether the next picture would fail alike: no access, or nothing left of what is paid for."""
    if isinstance(error, _KINDS):
        return True
    response: Any = getattr(error, "response", None)
    codes = [getattr(each, name, None) for each in (error, response) for name in ("status_code", "code")]
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return any(code in _STATUS for code in codes if isinstance(code, int)) or any(map(_NAMES.search, kinds))


def told(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
