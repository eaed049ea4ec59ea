"""The page that shows the API, from local files alone."""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

ASSETS: Final = "/docs/assets"
OPENAPI_URL: Final = "/openapi.json"

_PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>moerec API</title>
<link rel="icon" href="{ASSETS}/favicon-32x32.png">
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{url: "{OPENAPI_URL}", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null}});
</script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def get_docs() -> HTMLResponse:
    """The page. `validatorUrl` is off, because the validator is a foreign host."""
    return HTMLResponse(_PAGE)


@router.get("/")
async def get_root() -> RedirectResponse:
    """Who opens the address in a browser finds the page."""
    return RedirectResponse("/docs")


def mount_assets(app: FastAPI) -> None:
    """Serves the page's script and style from the installed package."""
    folder = str(files("fastapi_swagger.resources"))
    app.mount(ASSETS, StaticFiles(directory=folder), name="docs-assets")
