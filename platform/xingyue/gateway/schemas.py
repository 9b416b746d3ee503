"""Shapes of bodies and answers that no type of the routes tells, as JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
BINARY: Schema = {"type": "string", "format": "binary"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def items(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def fields(required: str = "", **properties: Schema) -> Schema:
    """An object; ``required`` are names, blank-separated."""
    shape: Schema = {"type": "object", "properties": properties}
    return shape | ({"required": required.split()} if required else {})


def _nullable(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def _said(of: Schema, words: str) -> Schema:
    return {**of, "description": words}


_TOKENS = fields(
    "prompt_tokens completion_tokens total_tokens",
    prompt_tokens=WHOLE,
    completion_tokens=WHOLE,
    total_tokens=WHOLE,
    cost_micros=_said(WHOLE, "In the last usage event of a stream."),
)
_CITATION = fields(
    "type file_citation",
    type={"const": "file_citation"},
    file_citation=fields(
        "file_id filename quote",
        file_id=TEXT,
        filename=TEXT,
        page=_nullable(WHOLE),
        quote=_said(TEXT, "Verbatim from the file."),
        start_index=WHOLE,
        end_index=WHOLE,
    ),
)
_MESSAGE = fields(
    "role content",
    role={"enum": ["system", "developer", "user", "assistant"]},
    content={"anyOf": [TEXT, items(fields("type text", type={"const": "text"}, text=TEXT))]},
)

_TENSOR = {
    "name": TEXT,
    "datatype": _said(TEXT, "BYTES, BOOL, UINT8…UINT64, INT8…INT64, FP16, FP32 or FP64."),
    "shape": items(WHOLE),
    "parameters": _said({"type": "object"}, "`binary_data_size`: bytes after the JSON part."),
    "data": _said(items({}), "Nested as the shape, or flat in row-major order."),
}
_PARAMETERS = _said(
    {"type": "object"}, "`binary_data_output`, and the model's own such as `threshold`."
)

SCHEMAS: dict[str, Schema] = {
    "InferError": fields("error", error=_said(TEXT, "What is wrong, and the remedy.")),
    "InferRequest": fields(
        "inputs",
        id=TEXT,
        parameters=_PARAMETERS,
        inputs=items(fields("name datatype shape", **_TENSOR)),
        outputs=items(
            fields("name", name=TEXT, parameters=_said({"type": "object"}, "`binary_data`"))
        ),
    ),
    "InferResponse": fields(
        "model_name model_version outputs",
        model_name=TEXT,
        model_version=TEXT,
        id=_said(TEXT, "The request's, if it had one."),
        outputs=items(fields("name datatype shape", **_TENSOR)),
    ),
    "Error": fields(
        "error",
        error=fields(
            "message type param code",
            message=_said(TEXT, "What is wrong, and the remedy."),
            type=TEXT,
            param=_nullable(_said(TEXT, "The field at fault.")),
            code=_said(TEXT, "Stable; see docs/reference/errors.md."),
        ),
    ),
    "Usage": fields(
        "unit units cost_micros currency",
        unit=TEXT,
        units=WHOLE,
        cost_micros=WHOLE,
        currency={"const": "CNY"},
    ),
    "Inspection": fields(
        "id model version verdict score threshold defects image usage",
        id=TEXT,
        model=TEXT,
        version=TEXT,
        verdict={"enum": ["pass", "fail"]},
        score=_said(SCORE, "Higher is worse; `fail` from the threshold on."),
        threshold=SCORE,
        defects=items(
            fields(
                "label score",
                label=TEXT,
                score=SCORE,
                box=_said(
                    items({"type": "number"}, minItems=4, maxItems=4),
                    "x_min, y_min, x_max, y_max in pixels of the image as sent.",
                ),
            )
        ),
        classes=items(fields("label score", label=TEXT, score=SCORE)),
        image=fields(width=WHOLE, height=WHOLE),
        heatmap=_said(TEXT, "With `heatmap=1`: a PNG overlay, base64."),
        usage=ref("Usage"),
    ),
    "Inspections": fields(
        "results usage",
        results=_said(
            items({"anyOf": [ref("Inspection"), ref("Error")]}), "In the order of the files."
        ),
        usage=ref("Usage"),
    ),
    "ImageInBucket": fields(
        "image", image=fields("s3", s3=_said(TEXT, "bucket/key, in your own bucket."))
    ),
    "ChatRequest": fields(
        "model messages",
        model=TEXT,
        messages=items(_MESSAGE, minItems=1),
        embedding_model=_said(TEXT, "Document QA: a variant of the embedding model to search by."),
        vector_store_ids=_said(
            items(TEXT, minItems=1, maxItems=8), "Document QA: where the answer is to be found."
        ),
        stream={"type": "boolean", "default": False},
        stream_options=fields(include_usage={"type": "boolean"}),
        max_completion_tokens={"type": "integer", "minimum": 1},
        max_tokens={"type": "integer", "minimum": 1},
        temperature={"type": "number", "minimum": 0, "maximum": 2},
        top_p={"type": "number", "minimum": 0, "maximum": 1},
        seed=WHOLE,
        stop={"anyOf": [TEXT, items(TEXT, maxItems=4)]},
        n={"const": 1},
    ),
    "ChatCompletion": fields(
        "id object created model choices usage",
        id=TEXT,
        object={"const": "chat.completion"},
        created=WHOLE,
        model=TEXT,
        choices=items(
            fields(
                "index message finish_reason",
                index=WHOLE,
                message=fields(
                    "role content",
                    role={"const": "assistant"},
                    content=TEXT,
                    annotations=items(_CITATION),
                    grounded=_said({"type": "boolean"}, "Document QA: are there citations?"),
                ),
                finish_reason={"enum": ["stop", "length"]},
            )
        ),
        usage=_TOKENS,
    ),
    "EmbeddingsRequest": fields(
        "model input",
        model=TEXT,
        input={"anyOf": [TEXT, items(TEXT, minItems=1, maxItems=256)]},
        encoding_format={"enum": ["float", "base64"], "default": "float"},
        input_type=_said(
            {"enum": ["query", "document", "passage"]},
            "Needed by variants: they move queries alone.",
        ),
        dimensions={"type": "integer", "minimum": 1},
    ),
    "Embeddings": fields(
        "object data model usage",
        object={"const": "list"},
        data=items(
            fields(
                "object index embedding",
                object={"const": "embedding"},
                index=WHOLE,
                embedding={"anyOf": [items({"type": "number"}), TEXT]},
            )
        ),
        model=TEXT,
        usage=fields("prompt_tokens total_tokens", prompt_tokens=WHOLE, total_tokens=WHOLE),
    ),
    "FineTuningRequest": fields(
        "model training_file",
        model=TEXT,
        training_file=_said(TEXT, "file-… or s3://<your bucket>/<prefix>"),
        validation_file=_nullable(TEXT),
        suffix=TEXT,
        method=fields("type", type=TEXT),
        seed=WHOLE,
        metadata={"type": "object", "additionalProperties": TEXT},
    ),
    "CloudEvents": items(
        fields(
            "specversion id source type time data",
            specversion={"const": "1.0"},
            id=TEXT,
            source=TEXT,
            type=TEXT,
            subject=TEXT,
            time={"type": "string", "format": "date-time"},
            data={"type": "object"},
        )
    ),
}
