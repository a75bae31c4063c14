"""Every RPC of the contract is answered: by its feature, or by the name of the feature that is to come."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import milimo.v1
import pytest
from milimo_deploy.doc_rpcs import SERVICERS
from milimo_runtime import later
from milimo_runtime.errors import Unimplemented

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor


def methods() -> list[MethodDescriptor]:
    """All methods of all services but the bare routes, which the gateway's own tests cover."""
    found = []
    for module in pkgutil.iter_modules(milimo.v1.__path__, "milimo.v1."):
        if module.name.endswith("_pb2"):
            for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
                if service.name != "CompatService":
                    found += list(service.methods)
    return found


METHODS = methods()


def test_the_whole_contract_is_walked() -> None:
    assert {method.containing_service.name for method in METHODS} == set(SERVICERS)
    assert len(METHODS) > 80


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.containing_service.name}.{method.name}")
async def test_every_rpc_is_answered(method: MethodDescriptor) -> None:
    servicer = SERVICERS[method.containing_service.name]
    answer: Any = getattr(servicer, method.name)
    stub = getattr(servicer.__mro__[1], method.name)
    assert answer is not stub, "the generated stub would answer without a word about what is missing"
    # A stream of responses is a generator that the server can close; a single response is a coroutine.
    assert inspect.isasyncgenfunction(answer) is method.server_streaming or not method.server_streaming
    if answer.__module__ != later.__name__:
        return
    called = answer(None, None, None)
    with pytest.raises(Unimplemented) as caught:
        await (anext(called) if method.server_streaming else called)
    assert caught.value.metadata["feature"] in caught.value.message
    assert len(caught.value.metadata["feature"]) > 5
