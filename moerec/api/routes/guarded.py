"""Routes that the guard stands before: the caller is known before a body is read or a parameter checked."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from moerec.api.auth import Head
from moerec.api.gateway import Gateway
from moerec.api.tokens import Caller


class GuardedRoute(APIRoute):
    """A route that refuses callers without a token for it, where tokens are asked for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the guard."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            gateway: Gateway = request.app.state.gateway
            head = Head(request.scope["headers"])
            request.state.caller = gateway.guard.caller(head, request.method, self.path_format)
            return await handle(request)

        return guarded


async def _caller(request: Request) -> Caller:  # async: FastAPI would give a `def` a thread
    return cast(Caller, request.state.caller)


CallerDep = Annotated[Caller, Depends(_caller)]
