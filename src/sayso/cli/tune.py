"""``sayso tune``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sayso.cli import recipes
from sayso.runs.terminal import printable


def run(
    recipe: str, *, overrides: Sequence[str], options: Mapping[str, Any], as_json: bool
) -> None:
    """Search, say what was best, and what to type next."""
    from sayso.app.space import space_of
    from sayso.app.tune import TuneOptions, tune

    chosen = TuneOptions(**{name: value for name, value in options.items() if value is not None})
    config = recipes.any_config(recipe, overrides)
    space = space_of(recipes.read(recipe)[0].get("tune"), config)

    def tell(line: str) -> None:
        print(printable(line), file=sys.stderr)

    found = tune(config, space, chosen, recipe=recipe, tell=tell)
    if as_json:
        told = {
            "best": found.best.to_json(),
            "trials": [tried.to_json() for tried in found.trials],
            "recipe": str(found.recipe),
            "study": str(found.path),
            "budget": found.budget.to_json(),
        }
        print(json.dumps(told))
        return
    print(f"Best: trial {found.best.number + 1} of {len(found.trials)}, mean {found.best.mean:.4f}")
    for path, value in found.best.values.items():
        print(f"  {path} = {value}")
    print(f"Recipe: {found.recipe}")
    print(f"Next: sayso compare {recipe},name=before {found.recipe},name=tuned")
