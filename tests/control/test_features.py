"""Hidden states as observations: read at the right token, whatever stands beside them."""

from __future__ import annotations

import numpy as np
import torch
from control_cases import letters_lm

from sayso.control.features import Hidden
from sayso.sampling.decisions import Asked


def test_contexts_of_different_lengths_are_each_read_at_their_last_token() -> None:
    lm = letters_lm()
    contexts = ((16, 1, 2, 3, 4, 5), (16, 7), (16, 2, 9))
    asked = [
        Asked(context=ids, observation=ids, choices=(), seed=0, max_new_tokens=1)
        for ids in contexts
    ]
    found = Hidden(lm).contexts(asked)
    for row, ids in zip(found, contexts, strict=True):
        with torch.no_grad():
            state = lm.causal_lm.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        np.testing.assert_allclose(row, (state / state.norm() * 32**0.5).numpy(), atol=1e-5)
