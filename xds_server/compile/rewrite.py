"""`rewrite`, `redirect`, `respond` and the headers of a row to what Envoy does with a request and its answer."""

from collections.abc import Iterator

from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.extensions.path.rewrite.uri_template.v3.uri_template_rewrite_pb2 import UriTemplateRewriteConfig
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher

from legation.mesh.model.action import HeaderChanges, Redirect, Respond, Rewrite
from legation.mesh.model.expose import Expose
from legation.mesh.model.route import Route
from xds_server.compile.pack import pack

_WHOLE_PATH = "^/.*$"
_STATUSES: dict[int, "components.RedirectAction.RedirectResponseCode.ValueType"] = {
    301: components.RedirectAction.RedirectResponseCode.MOVED_PERMANENTLY,
    302: components.RedirectAction.RedirectResponseCode.FOUND,
    303: components.RedirectAction.RedirectResponseCode.SEE_OTHER,
    307: components.RedirectAction.RedirectResponseCode.TEMPORARY_REDIRECT,
    308: components.RedirectAction.RedirectResponseCode.PERMANENT_REDIRECT,
}


def rewrite(action: components.RouteAction, asked: Rewrite) -> None:
    """Have an action change what the app sees of a request."""
    if asked.host is not None:
        action.host_rewrite_literal = asked.host
    if asked.prefix is not None:
        action.prefix_rewrite = asked.prefix
    if asked.path is not None:
        action.regex_rewrite.CopyFrom(_replace(_WHOLE_PATH, asked.path.replace("\\", "\\\\")))
    if asked.regex is not None:
        action.regex_rewrite.CopyFrom(_replace(asked.regex.pattern, asked.regex.substitution))
    if asked.template is not None:
        config = pack(UriTemplateRewriteConfig(path_template_rewrite=asked.template))
        name = "envoy.path.rewrite.uri_template.uri_template_rewriter"
        action.path_rewrite_policy.CopyFrom(TypedExtensionConfig(name=name, typed_config=config))


def redirect(asked: Redirect) -> components.RedirectAction:
    """Return where the client is sent."""
    return components.RedirectAction(
        scheme_redirect=asked.scheme,
        host_redirect=asked.host or "",
        port_redirect=asked.port or 0,
        path_redirect=asked.path,
        prefix_rewrite=asked.prefix,
        response_code=_STATUSES[asked.status],
        strip_query=asked.strip_query,
    )


def to_https(name: str, expose: Expose, port: int) -> components.Route:
    """Return the route that sends plain requests on `port` to where a service is exposed over TLS.

    308 keeps the method and the body. Envoy drops 80 from the Host by itself, and adds no 443.
    """
    usual = (port, expose.port) == (80, 443)
    action = components.RedirectAction(
        https_redirect=True,
        port_redirect=0 if usual else expose.port,
        response_code=components.RedirectAction.RedirectResponseCode.PERMANENT_REDIRECT,
    )
    return components.Route(name=f"{name}.https", match=components.RouteMatch(prefix="/"), redirect=action)


def respond(asked: Respond) -> components.DirectResponseAction:
    """Return the proxy's own answer."""
    body = DataSource(inline_string=asked.body) if asked.body else None
    return components.DirectResponseAction(status=asked.status, body=body)


def change_headers(proto: components.Route, route: Route) -> None:
    """Have a route change the headers of requests and of answers."""
    if (asked := route.request_headers) is not None:
        proto.request_headers_to_remove.extend(asked.remove)
        proto.request_headers_to_add.extend(_added(asked))
    if (asked := route.response_headers) is not None:
        proto.response_headers_to_remove.extend(asked.remove)
        proto.response_headers_to_add.extend(_added(asked))


def _added(asked: HeaderChanges) -> Iterator[HeaderValueOption]:
    actions = HeaderValueOption.HeaderAppendAction
    for changes, how in ((asked.set, actions.OVERWRITE_IF_EXISTS_OR_ADD), (asked.add, actions.APPEND_IF_EXISTS_OR_ADD)):
        for name, value in sorted(changes.items()):
            # % begins a command of Envoy's formats
            yield HeaderValueOption(header=HeaderValue(key=name, value=value.replace("%", "%%")), append_action=how)


def _replace(pattern: str, substitution: str) -> RegexMatchAndSubstitute:
    return RegexMatchAndSubstitute(pattern=RegexMatcher(regex=pattern), substitution=substitution)
