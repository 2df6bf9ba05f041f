"""What only some services need is loaded with the first of them."""

from __future__ import annotations

from tests.support.programs import run_python

PROGRAM = """
import sys
import runcue

RARE = {
    "runcue._limits.budget": lambda: cue.service("budget", budget={"tokens": "9/min"}),
    "runcue._registration.costs": lambda: None,  # with the first budget
    "runcue._handlers.spending": lambda: None,
    "runcue._limits.keyed": lambda: cue.service("keyed", per=lambda work: 1, rate="9/min"),
    "runcue._limits.status": lambda: cue.services(),
    "runcue._lifecycle.server_news": lambda: api.read_headers({}),
}

async def handler():
    pass

cue = runcue.Cue()
api = cue.service("api", rate="9/min", concurrent=2)
cue.task("task", uses=api)(handler)
print([name for name in RARE if name in sys.modules])
for name, use in RARE.items():
    use()
    assert name in sys.modules, name
"""


def test_the_first_cue_loads_nothing_that_only_budgets_keys_headers_or_a_look_need() -> None:
    done = run_python("-c", PROGRAM)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
