"""What all resources of the API have in common: where it is, who may call, bodies, filters, pages and entity tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authgate.api import problems
from authgate.api.callers import Caller, CallerAuthentication, caller_of
from authgate.api.schema import ApiSchema, FieldError, Operation
from authgate.own_hosts import public_host
from authgate.pages.storable_text import is_storable
from authgate.state import snapshot
from authgate.state.hosts import is_services
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.strict_json import NotStrictJson, read_json

_MAX_DEPTH = 32  # a policy has a third of it


class JSONParser(BaseParser):
    """Strict: a name twice, NaN and text that no database can hold are errors."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            value = read_json(stream.read(), _MAX_DEPTH)
        except NotStrictJson as error:
            raise ParseError(f"The body is refused: {error}.") from error
        if not all(map(is_storable, _texts(value))):
            raise problems.invalid([FieldError("", "has text with NUL")])
        return value


class OnlyJSON(BaseContentNegotiation):
    """Whatever the client would accept."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """`operations` by method in lower case; `path_schemas` for what stands in the path."""

    authentication_classes = [CallerAuthentication]
    permission_classes = ()
    throttle_classes = ()
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = OnlyJSON
    metadata_class = None
    schema = ApiSchema()
    operations: Mapping[str, Operation] = {}
    path_schemas: ClassVar[Mapping[str, Any]] = {}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.is_elsewhere = not is_here(request)
        return super().dispatch(request, *args, **kwargs)

    def perform_authentication(self, request: Request) -> None:
        if self.is_elsewhere:
            raise problems.Problem(404, "There is nothing here.")
        super().perform_authentication(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        operation = self.operations.get((request.method or "").lower())
        if operation is None:
            return
        if errors := list(_query_errors(request.query_params, operation)):
            raise problems.invalid(errors)

    @property
    def sent(self) -> Any:
        """The body. Raises Problem or ParseError."""
        if not self.request._request.body:
            raise problems.Problem(400, "A body is needed: JSON, as application/json.")
        return self.request.data

    def get_exception_handler(self) -> Callable[[Exception, Any], Response | None]:
        return problems.to_response

    @property
    def caller(self) -> Caller:
        return caller_of(self.request)


class NotFound(ApiView):
    """All below the API's prefix that is nothing. Asks nobody who they are."""

    authentication_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise problems.Problem(404, "There is nothing here.")


def is_here(request: HttpRequest) -> bool:
    """On the host of the public URL, unless it is a service's: scripts of a service could use its visitors' cookies."""
    try:
        host = parse_authority(request.get_host().encode("latin-1")).host
    except (HostRefused, UnicodeEncodeError):
        return False
    return host == public_host() and not is_services(host, snapshot.current())


def _query_errors(query: QueryDict, operation: Operation) -> Iterator[FieldError]:
    known = {parameter.name: parameter.schema for parameter in operation.parameters}
    for name, values in query.lists():
        if name not in known:
            yield FieldError(name, "unknown parameter")
        elif len(values) > 1:
            yield FieldError(name, "given twice")
        elif values[0] not in (choices := known[name].get("enum", values)):
            yield FieldError(name, f"must be one of {', '.join(choices)}")


def _texts(value: Any) -> Iterator[str]:
    """Of every depth that the parser has read."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
