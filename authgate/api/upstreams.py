"""How the targets of upstreams are right now."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.bodies import show
from authgate.api.lists import PAGE, answer_page
from authgate.api.schema import Operation
from authgate.api.views import ApiView
from authgate.policy import revisions
from authgate.state.live_upstreams import health_of


class UpstreamHealthList(ApiView):
    operations = {
        "get": Operation(
            "How each target of each upstream is, over all workers of this machine.", "UpstreamHealth",
            parameters=PAGE, is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view("upstream")
        return answer_page(request, health_of(revisions.live_document().upstreams), show)
