"""How a list goes out."""

from fastapi import Response

from moerec.api.schemas import Recommendations


def answer(made: Recommendations) -> Response:
    """The list as JSON, its times also as a Server-Timing header that browsers show."""
    timings = made.timings_ms
    parts = [f"total;dur={timings.total}"]
    if timings.engine is not None:
        parts.append(f"engine;dur={timings.engine}")
    return Response(
        made.model_dump_json(),
        media_type="application/json",
        headers={"Server-Timing": ", ".join(parts), "Cache-Control": "no-store"},
    )
