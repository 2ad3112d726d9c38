from __future__ import annotations

from whippet.local.calls import service_model
from whippet.local.gaps import HANDLERS


def test_every_gap_names_the_page_of_aws_that_it_follows() -> None:
    silent = [key for key, handler in HANDLERS.items() if "https://docs.aws.amazon.com/" not in (handler.__doc__ or "")]
    assert silent == []


def test_every_gap_is_in_an_operation_that_aws_has() -> None:
    for service, operation in HANDLERS:
        model = service_model(service)
        assert model is not None, service
        assert operation in model.operation_names, operation
