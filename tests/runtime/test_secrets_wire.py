"""SDS by hand, held against Envoy's own API."""

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.any_pb2 import Any
from hypothesis import example, given
from hypothesis import strategies as st

from legation.runtime import secrets_wire
from legation.runtime.secrets_wire import Pems, Secrets

TEXT = st.text(max_size=300)


@given(TEXT, st.lists(TEXT, max_size=3))
def test_a_stream_is_opened_as_envoys_api_has_it(node, wanted):
    read = DeltaDiscoveryRequest.FromString(secrets_wire.first_request(node, tuple(wanted)))
    expected = DeltaDiscoveryRequest(type_url=secrets_wire.SECRET_TYPE, resource_names_subscribe=wanted)
    expected.node.id = node
    expected.node.user_agent_name = "legation"
    assert read == expected


@given(TEXT, TEXT)
@example("1", "a" * 20_000)
def test_an_answer_is_an_ack_or_a_nack_with_a_problem(nonce, problem):
    read = DeltaDiscoveryRequest.FromString(secrets_wire.answer(nonce, problem))
    expected = DeltaDiscoveryRequest(type_url=secrets_wire.SECRET_TYPE, response_nonce=nonce)
    if problem:
        expected.error_detail.code = secrets_wire.INVALID_ARGUMENT
        expected.error_detail.message = problem
    assert read == expected


@given(TEXT, st.dictionaries(TEXT, st.binary(max_size=300)))
def test_a_response_is_read_with_what_it_does_not_need_passed_over(nonce, resources):
    said = DeltaDiscoveryResponse(nonce=nonce, type_url="some", system_version_info="1", removed_resources=["gone"])
    for name, value in resources.items():
        said.resources.add(name=name, version="2", resource=Any(type_url="some", value=value)).ttl.seconds = 1 << 40
    assert secrets_wire.response(said.SerializeToString()) == Secrets(nonce, resources)


@given(st.binary(), st.binary(), st.binary())
def test_a_secret_is_read(chain, key, bundle):
    pair, trusted = Secret(name="a"), Secret(name="b")
    pair.tls_certificate.certificate_chain.inline_bytes = chain
    pair.tls_certificate.private_key.inline_bytes = key
    trusted.validation_context.trusted_ca.inline_string = bundle.hex()
    assert secrets_wire.secret(pair.SerializeToString()) == Pems(chain, key)
    assert secrets_wire.secret(trusted.SerializeToString()) == Pems(trusted_ca=bundle.hex().encode())
    trusted.validation_context.crl.inline_bytes = key
    assert secrets_wire.secret(trusted.SerializeToString()) == Pems(trusted_ca=bundle.hex().encode(), crl=key)


@pytest.mark.parametrize(
    ("source", "kind"), [({"filename": "/key"}, "filename"), ({"environment_variable": "KEY"}, "environment_variable")]
)
def test_a_secret_that_points_elsewhere_is_none(source, kind):
    said = Secret()
    for name, value in source.items():
        setattr(said.validation_context.trusted_ca, name, value)
    with pytest.raises(ValueError, match=f"is {kind}; only inline"):
        secrets_wire.secret(said.SerializeToString())
    with pytest.raises(ValueError, match="is missing; only inline"):
        secrets_wire.secret(Secret(name="empty").SerializeToString())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a\x05ab", "cut off"),
        (b"\x0a", "cut off"),
        (b"\xff" * 11, "cut off"),
        (b"\x0d\x00", "cut off"),
        (b"\x0b", "wire type 3"),
    ],
)
def test_what_is_no_message_is_said(data, why):
    with pytest.raises(ValueError, match=why):
        secrets_wire.response(data)


def test_numbers_of_fixed_size_are_passed_over():
    assert secrets_wire.response(b"\x09" + b"1" * 8 + b"\x0d" + b"1" * 4 + b"\x08\x01" + b"\x2a\x01n") == Secrets(
        "n", {}
    )
