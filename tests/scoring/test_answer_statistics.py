"""How a model answers, right or wrong, equals a plain recount."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.decode.spans import Prediction, WindowLogits
from albertqa.scoring.evaluation import answer_statistics

Windows = st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=6), min_size=1, max_size=8)


class Unlabelled:
    """Windows without an answer: what the statistics ask of a `WindowStore`."""

    def __init__(self, count: int) -> None:
        self.columns = {name: np.zeros(count, dtype=np.int32) for name in ("start_position", "end_position")}

    def __len__(self) -> int:
        return len(self.columns["start_position"])


@given(Windows, st.lists(st.sampled_from(["", "Rollo", "in the  year 911"]), min_size=1, max_size=6))
def test_statistics_equal_a_plain_recount(windows: list[list[float]], texts: list[str]) -> None:
    start = np.concatenate([np.asarray(one, dtype=np.float32) for one in windows])
    first_token = np.concatenate([[0], np.cumsum([len(one) for one in windows])]).astype(np.int64)
    predictions = [Prediction(str(at), text, ()) for at, text in enumerate(texts)]
    found = answer_statistics(WindowLogits(start, start, first_token), predictions, Unlabelled(len(windows)))
    positions = [one.index(max(one)) for one in windows]
    assert found.same_start_percent == pytest.approx(100 * positions.count(found.same_start) / len(windows), abs=1e-3)
    assert positions.count(found.same_start) == max(positions.count(one) for one in positions)
    assert found.empty_percent == pytest.approx(100 * texts.count("") / len(texts), abs=1e-3)
    assert found.words_mean == pytest.approx(sum(len(text.split()) for text in texts) / len(texts), abs=1e-3)


def test_logits_of_nan_have_statistics_too() -> None:
    start = np.full(3, np.nan, dtype=np.float32)
    logits = WindowLogits(start, start, np.array([0, 1, 3]))
    assert answer_statistics(logits, [Prediction("1", "", ())], Unlabelled(2)).same_start_percent == 0.0
