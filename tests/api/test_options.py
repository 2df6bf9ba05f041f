"""What a submission takes is shown in full, to people and to tools, however it is carried out."""

import inspect

import pytest

import runcue
from runcue._model.overrides import Overrides


@pytest.mark.parametrize("call", [runcue.Cue.submit, runcue.Cue.submit_threadsafe])
def test_the_options_of_a_submission_are_those_that_are_shown(call: object) -> None:
    shown = inspect.signature(call).parameters.values()  # type: ignore[arg-type]
    options = [one.name for one in shown if one.kind is one.KEYWORD_ONLY]
    assert sorted([*options, "retry_of"]) == sorted(Overrides._fields)
    defaults = {one.name: one.default for one in shown if one.kind is one.KEYWORD_ONLY}
    assert all(
        value is defaults[name] for name, value in Overrides._field_defaults.items() if name in defaults
    )
    assert all(f"{name}:" in (call.__doc__ or "") for name in options)
