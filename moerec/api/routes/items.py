"""Lists that belong to no user: similar items, popular items."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from moerec.api.errors import problem_responses
from moerec.api.gateway import GatewayDep
from moerec.api.routes.guarded import CallerDep, GuardedRoute
from moerec.api.routes.lists import listed
from moerec.api.schemas import DEFAULT_K, Id, K, Recommendations

router = APIRouter(tags=["items"], route_class=GuardedRoute)


@router.get(
    "/v1/items/{item_id:path}/similar",
    response_model=Recommendations,
    responses=problem_responses(422),
    summary="Items like this one",
)
async def get_similar(
    item_id: Annotated[Id, Path(description="An item of the catalogue; others get popular items.")],
    gateway: GatewayDep,
    caller: CallerDep,
    k: K = DEFAULT_K,
) -> Response:
    """The nearest items by the model's item vectors; repeated from a cache for a while."""
    gateway.guard.admit(caller, None)
    return listed(await gateway.recommend.similar(item_id, k))


@router.get(
    "/v1/popular",
    response_model=Recommendations,
    responses=problem_responses(422),
    summary="Popular items",
)
async def get_popular(
    gateway: GatewayDep,
    caller: CallerDep,
    k: K = DEFAULT_K,
    category: Annotated[Id | None, Query(description="Only items of this category.")] = None,
) -> Response:
    """The items with the most events in the training data, the same for everybody."""
    gateway.guard.admit(caller, None)
    return listed(gateway.recommend.popular(k, category))
