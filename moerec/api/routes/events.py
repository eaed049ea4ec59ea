"""Events come in."""

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError

from moerec.api.answers import JSON
from moerec.api.answers import body as json_of
from moerec.api.errors import ApiError, problem_responses
from moerec.api.gateway import GatewayDep
from moerec.api.ingest import NewEvent
from moerec.api.routes.guarded import CallerDep, GuardedRoute
from moerec.api.schemas import EventBatchIn, EventFault, EventIn, EventsIn, EventsOut

router = APIRouter(tags=["events"], route_class=GuardedRoute)


@router.post(
    "/v1/events",
    status_code=202,
    response_model=EventsOut,
    responses=problem_responses(400, 409, 413, 415, 422, 503),
    summary="Tell what users did",
)
async def post_events(body: EventsIn, gateway: GatewayDep, caller: CallerDep) -> Response:
    """Takes one event, or `{"events": [...]}` with up to 500.

    What is acknowledged is durable, and in the user's next list. The same `event_id` again is
    answered as a `duplicate` and counts once. In a batch each faulty event is rejected by its index
    and the others are stored; a single faulty event is an error.
    """
    if isinstance(body, EventBatchIn):
        taken = await gateway.ingest.take(
            gateway.guard.admit_batch(caller, [_new(event) for event in body.events])
        )
    else:
        gateway.guard.admit(caller, body.user_id)
        taken = await gateway.ingest.take([_new(body)])
        for refused in taken.rejected:
            if refused.code == "event_id_conflict":
                raise ApiError(409, refused.code, refused.message)
            field, _, message = refused.message.partition(": ")
            raise RequestValidationError(
                [{"loc": ("body", field), "msg": message, "type": "value_error"}]
            )
    return Response(json_of(taken), status_code=202, media_type=JSON)


def _new(event: EventIn | EventFault) -> NewEvent | EventFault:
    """The event as the service takes it; a fault stays one."""
    return event if isinstance(event, EventFault) else NewEvent(**event.model_dump())
