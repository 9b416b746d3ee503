"""The model behind LiteLLM: an OpenAI endpoint that does nothing, as the family ``noop``."""

import json

_BODY = json.dumps(
    {
        "object": "list",
        "model": "bench-embed",
        "data": [{"object": "embedding", "index": 0, "embedding": [1.0] + [0.0] * 7}],
        "usage": {"prompt_tokens": 16, "total_tokens": 16},
    }
).encode()
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
