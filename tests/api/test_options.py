"""What a submission takes is shown in full, to people and to tools, however it is carried out."""

import inspect

import pytest

import runcue
from runcue._api.submit_options import SubmitOptions
from runcue._model.overrides import OPTIONS


@pytest.mark.parametrize("call", [runcue.Cue.submit, runcue.Cue.submit_threadsafe])
def test_the_options_of_a_submission_are_those_that_are_shown(call: object) -> None:
    shown = inspect.signature(call).parameters.values()  # type: ignore[arg-type]
    options = [one.name for one in shown if one.kind is one.KEYWORD_ONLY]
    assert options == [*OPTIONS]
    assert all(one.default is OPTIONS[one.name] for one in shown if one.kind is one.KEYWORD_ONLY)
    assert all(f"{name}:" in (call.__doc__ or "") for name in options)
    assert [*SubmitOptions.__annotations__] == options
    shown_types = {one.name: one.annotation for one in shown if one.kind is one.KEYWORD_ONLY}
    assert {name: one.__forward_arg__ for name, one in SubmitOptions.__annotations__.items()} == shown_types
