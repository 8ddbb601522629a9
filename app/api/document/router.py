"""`/docs`: the API in a browser, from this service alone; `/openapi.json`, and what `/` says."""

from enum import StrEnum
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from app.api.http.guests import GuestRoute

OPENAPI = "/openapi.json"
DOCS = "/docs"
CONSOLE = "/console"
# Everything comes from here, and no script stands in a page.
_ALONE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_KEPT = {"Cache-Control": "public, max-age=3600"}
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Secateur: HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{DOCS}/swagger-ui.css">
</head>
<body>
<div id="docs" data-document="{OPENAPI}"></div>
<script src="{DOCS}/swagger-ui-bundle.js"></script>
<script src="{DOCS}/start.js"></script>
</body>
</html>
"""
_START = """"use strict";
const place = document.getElementById("docs");
SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""


class Asset(StrEnum):
    """The files of Swagger UI that the page needs."""

    SCRIPT = "swagger-ui-bundle.js"
    STYLE = "swagger-ui.css"


router = APIRouter(include_in_schema=False)
_guarded = APIRouter(include_in_schema=False, route_class=GuestRoute)


@router.get("/")
async def index(accept: Annotated[str, Header()] = "") -> Response:
    """Say what this is, and where to go on; browsers go on to the console by themselves."""
    if "text/html" in accept:
        return RedirectResponse(CONSOLE, HTTPStatus.SEE_OTHER, headers={"Vary": "Accept"})
    links = {"console": CONSOLE, "documentation": DOCS, "openapi": OPENAPI, "health": "/livez"}
    return JSONResponse({"service": "Secateur", "version": "1"} | links, headers={"Vary": "Accept"})


@_guarded.get(DOCS)
async def page() -> HTMLResponse:
    """The page; its script asks for the document."""
    return HTMLResponse(_PAGE, headers=_ALONE)


@_guarded.get(OPENAPI)
async def document(request: Request) -> Response:
    """The OpenAPI document; written once, since that takes long and everything else waits."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = JSONResponse(request.app.openapi()).body
    return Response(state.document, media_type="application/json")


@router.get(f"{DOCS}/start.js")
async def start() -> Response:
    """What starts Swagger UI; a file, since the page runs no script of its own."""
    return Response(_START, media_type="text/javascript", headers=_KEPT)


@router.get(f"{DOCS}/{{asset}}")
async def asset(asset: Asset) -> FileResponse:
    """A file of Swagger UI."""
    return FileResponse(_assets() / asset, headers=_KEPT)


router.include_router(_guarded)


def _assets() -> Path:
    """Where the package `fastapi-offline`, of which nothing is run, keeps Swagger UI."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fastapi-offline is missing")
    return Path(spec.origin).parent / "static"
