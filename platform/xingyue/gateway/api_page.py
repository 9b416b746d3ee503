"""The API page at ``/docs``. Its script and style are served from here, so that it works on a
machine without internet; they come with the package ``fastapi-offline``."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from xingyue.errors import NotFound

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def install(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Xingyue 星月 API",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon.png",
            swagger_ui_parameters={"defaultModelsExpandDepth": 0, "docExpansion": "list"},
        )

    @app.get("/docs/{name}", include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        if name not in _ASSETS:
            raise NotFound(f"there is no {request.url.path}", code="unknown_route")
        content = (files("fastapi_offline") / "static" / name).read_bytes()
        return Response(
            content, media_type=_ASSETS[name], headers={"cache-control": "max-age=86400"}
        )
