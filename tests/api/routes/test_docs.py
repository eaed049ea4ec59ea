"""The docs page shows the API with files of this server alone."""

import re

import httpx


def test_the_page_and_its_assets_come_from_here(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"https?://|[\"']//", page.text)
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        assert client.get(asset).status_code == 200


def test_no_foreign_validator_is_asked(client: httpx.Client) -> None:
    """Swagger UI sends the document's address to validator.swagger.io unless it is told not to."""
    assert "validatorUrl: null" in client.get("/docs").text


def test_the_pages_script_knows_our_openapi_version(client: httpx.Client) -> None:
    """Swagger UI 4, as some packages ship it, refuses to show OpenAPI 3.1 documents."""
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert "oas31" in client.get("/docs/assets/swagger-ui-bundle.js").text.lower()


def test_the_root_leads_to_the_page(client: httpx.Client) -> None:
    assert client.get("/").headers["Location"] == "/docs"
