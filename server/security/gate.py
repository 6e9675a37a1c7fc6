"""What stands before every call of one protocol, and before any lookup: who may, and Triton's locks."""

from collections.abc import Iterable

from server.security.caller import ANONYMOUS, Caller, Shown, shown_by
from server.security.calls import METADATA
from server.security.guard import Guard
from server.security.restricted import Restrictions
from server.security.rights import Call

Headers = Iterable[tuple[str | bytes, str | bytes]]


class Gate:
    """Lives on the event loop.

    guard         None where everybody may do everything
    restricted    of the protocol that this gate is of
    """

    def __init__(self, guard: Guard | None, restricted: Restrictions) -> None:
        self._guard = guard
        self._restricted = restricted
        self._has_locks = bool(restricted)

    @property
    def is_open(self) -> bool:
        """Whether nobody is ever stopped here."""
        return self._guard is None and not self._restricted

    async def admit(self, call: Call, headers: Headers) -> Caller | None:
        """Who asks; None where nobody is told apart. Raises one of the refusals of `server.security`."""
        headers = list(headers)
        if self._guard is not None and not call.is_open:
            await self._guard.prepare(shown_by(headers))
        return self.admit_now(call, headers)

    def admit_now(self, call: Call, headers: Headers) -> Caller | None:
        """The same with what is known by now: for who has looked whether `is_prepared`."""
        headers = list(headers)
        caller = None if self._guard is None else self._guard.admit(call, shown_by(headers))
        self._restricted.check(call.api, headers, ANONYMOUS if caller is None else caller.name)
        return caller

    def may_read(self, headers: Headers) -> bool:
        """Whether who asks may hear of models, where what is asked is open to everybody."""
        return self._guard is None or self._guard.would_admit(METADATA, shown_by(headers))

    def is_prepared(self, shown: Shown) -> bool:
        """Whether nothing has to be waited for before this can be admitted or refused."""
        return self._guard is None or self._guard.is_prepared(shown)

    def admits_quickly(self, call: Call, shown: Shown) -> bool:
        """Whether it takes next to nothing to admit this, as who shows it has been found out before."""
        if self._has_locks and call.api is not None and call.api in self._restricted:
            return False
        return self._guard is None or self._guard.knows(call, shown)

    def admit_at_once(self, call: Call, shown: Shown) -> bool:
        """Admit or refuse this if that takes next to nothing; False if it has to be asked otherwise."""
        if self._has_locks or self._guard is None or not self._guard.knows(call, shown):
            return False
        self._guard.admit(call, shown)
        return True

    def admit_quickly(self, call: Call, shown: Shown) -> None:
        """For a call that `admits_quickly`, again and again. Who is not admitted any more is refused."""
        if self._guard is not None:
            self._guard.admit(call, shown)
