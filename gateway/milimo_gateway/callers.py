"""Who may call: no page of the web, unless it is named.

There are no keys on a loopback address, and a browser carries requests of any page to it. So two things are refused
whatever the method: a request of a page (its `Origin`) that may not read the answer either, and a request to a name
that is not the gateway's (its `Host`), which is how a page whose own name was made to resolve to 127.0.0.1 would come.
Programs send no `Origin` and are not concerned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from milimo_gateway.settings import LOCAL, split_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_gateway.settings import GatewaySettings

Config = dict[str, Any]

ANY_ORIGIN: Final = "*"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Requests that are refused: the header that tells them, and what is answered."""

    reason: str
    matcher: Config  # Envoy's HeaderMatcher
    message: str


def origin_matcher(pattern: str) -> Config:
    """Matches an origin; a port "*" stands for any, and for none."""
    if pattern.endswith(":*"):
        return {"safe_regex": {"regex": f"{re.escape(pattern.removesuffix(':*'))}(:[0-9]+)?"}}
    return {"exact": pattern}


def _none_of(header: str, patterns: Iterable[str]) -> Config:
    """Matches when the header is there and is none of these. Envoy holds a regular expression against all of it."""
    either = "|".join(patterns)
    return {"name": header, "string_match": {"safe_regex": {"regex": either}}, "invert_match": True}


def refusals(settings: GatewaySettings) -> list[Refusal]:
    """What is refused, in the order in which it is answered."""
    listens_at, _ = split_address(settings.gateway_listen)
    names = dict.fromkeys((*LOCAL, f"[{listens_at}]" if ":" in listens_at else listens_at, *settings.gateway_hosts))
    found = [
        Refusal(
            reason="FOREIGN_HOST",
            matcher=_none_of(":authority", [f"(?i:{re.escape(name)})(:[0-9]+)?" for name in names]),
            message="the gateway does not answer to the name in Host: call it as localhost, or add the name to "
            "MILIMO_GATEWAY_HOSTS",
        )
    ]
    if ANY_ORIGIN not in settings.gateway_cors_origins:
        matchers = [origin_matcher(origin) for origin in settings.gateway_cors_origins]
        patterns = [
            matcher["safe_regex"]["regex"] if "safe_regex" in matcher else re.escape(matcher["exact"])
            for matcher in matchers
        ]
        found.append(
            Refusal(
                reason="FOREIGN_ORIGIN",
                matcher=_none_of("origin", patterns),
                message="pages of this origin may not call: MILIMO_GATEWAY_CORS_ORIGINS names those that may",
            )
        )
    return found


def callers_filter(settings: GatewaySettings) -> Config:
    """The filter that refuses them, with 403."""
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {
                    refusal.reason: {"permissions": [{"any": True}], "principals": [{"header": refusal.matcher}]}
                    for refusal in refusals(settings)
                },
            },
        },
    }
