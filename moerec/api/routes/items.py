"""Items that come and go; and lists that belong to no user: similar items, popular items."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from moerec.api.errors import problem_responses
from moerec.api.gateway import GatewayDep
from moerec.api.item_schemas import ItemChanged, ItemIn, ItemOut
from moerec.api.routes.guarded import CallerDep, GuardedRoute
from moerec.api.routes.lists import listed
from moerec.api.schemas import DEFAULT_K, Id, K, Recommendations

router = APIRouter(tags=["items"], route_class=GuardedRoute)


# Before the item itself: an id may hold slashes, so that its path would fit this one too.
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
    "/v1/items/{item_id:path}",
    responses=problem_responses(404, 422, 503),
    summary="An item as it stands",
)
async def get_item(
    item_id: Annotated[Id, Path(description="An item, removed ones too.")],
    gateway: GatewayDep,
    caller: CallerDep,
) -> ItemOut:
    """What it was put with last, or what the model was trained with."""
    gateway.guard.admit(caller, None)
    return await gateway.items.item(item_id)


@router.put(
    "/v1/items/{item_id:path}",
    responses=problem_responses(400, 413, 415, 422, 503),
    summary="Put an item",
)
async def put_item(
    item_id: Annotated[Id, Path(description="A new item, or one whose fields are replaced.")],
    item: ItemIn,
    gateway: GatewayDep,
    caller: CallerDep,
) -> ItemChanged:
    """Puts an item with these fields, in place of all that it had; it can be in lists from now on.

    What is answered is durable. A removed item comes back.
    """
    gateway.guard.admit_for_all(caller)
    return await gateway.items.put(item_id, item.fields())


@router.delete(
    "/v1/items/{item_id:path}",
    responses=problem_responses(404, 422, 503),
    summary="Remove an item",
)
async def delete_item(
    item_id: Annotated[Id, Path(description="An item; a removed one stays removed.")],
    gateway: GatewayDep,
    caller: CallerDep,
) -> ItemChanged:
    """Takes an item out of all lists. What is answered is durable; events with the item stay."""
    gateway.guard.admit_for_all(caller)
    return await gateway.items.remove(item_id)


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
