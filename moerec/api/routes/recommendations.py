"""Lists for users and histories."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.exceptions import RequestValidationError

from moerec.api.errors import problem_responses
from moerec.api.gateway import GatewayDep
from moerec.api.routes.guarded import CallerDep, GuardedRoute
from moerec.api.routes.lists import listed
from moerec.api.schemas import DEFAULT_K, Id, K, MaxExperts, Recommendations, RecommendationsIn
from moerec.transport.frames import RecommendRequest

router = APIRouter(tags=["recommendations"], route_class=GuardedRoute)


@router.post(
    "/v1/recommendations",
    response_model=Recommendations,
    responses=problem_responses(400, 413, 415, 422),
    summary="Recommend items, with every option",
)
async def post_recommendations(
    query: RecommendationsIn, gateway: GatewayDep, caller: CallerDep
) -> Response:
    """Ranks the catalogue for a user (by their stored events) or for a history in the request.

    Always answers with a list: where the model has no answer, the list holds popular items and
    `fallback` says why.
    """
    refuse_other_budgets(query.max_experts, gateway.catalogue.budgets)
    gateway.guard.admit(caller, query.user_id)
    request = RecommendRequest(
        query.user_id,
        query.history,
        query.k,
        query.exclude_item_ids,
        query.exclude_seen,
        query.max_experts,
    )
    return listed(await gateway.recommend.recommend(request))


@router.get(
    "/v1/users/{user_id:path}/recommendations",
    response_model=Recommendations,
    responses=problem_responses(422),
    summary="Recommend items to a user",
)
async def get_recommendations(
    user_id: Annotated[Id, Path(description="The user; unknown users get popular items.")],
    gateway: GatewayDep,
    caller: CallerDep,
    k: K = DEFAULT_K,
    max_experts: MaxExperts | None = None,
) -> Response:
    """The same for one stored user, for a browser or curl."""
    refuse_other_budgets(max_experts, gateway.catalogue.budgets)
    gateway.guard.admit(caller, user_id)
    request = RecommendRequest(user_id, None, k, max_experts=max_experts)
    return listed(await gateway.recommend.recommend(request))


def refuse_other_budgets(max_experts: int | None, budgets: range) -> None:
    """A 422 that names the range, for a budget that the model does not have."""
    if max_experts is None or max_experts in budgets:
        return
    message = f"This model wakes {budgets[0]} to {budgets[-1]} experts a layer: ask for one of these numbers"
    raise RequestValidationError(
        [{"type": "value_error", "loc": ("max_experts",), "msg": message, "input": max_experts}]
    )
