from __future__ import annotations

import numpy as np
import pytest

from florence_demo.engine.familiarity import FILE, Familiarity

RNG = np.random.default_rng(0)


def pictures(count: int, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return (RNG.normal(shift, spread, (count, 20, 8)) + RNG.normal(0, 0.3, (count, 1, 8))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return Familiarity.fit(pictures(800))


@pytest.mark.parametrize(
    ("shift", "spread", "known"),
    [
        pytest.param(0.0, 1.0, True, id="same kind"),
        pytest.param(3.0, 1.0, False, id="other middle"),
        pytest.param(0.0, 9.0, False, id="far from place to place"),
    ],
)
def test_pictures_of_another_kind_are_noticed(fitted, shift, spread, known):
    answers = [fitted.knows(p) for p in pictures(100, shift, spread)]
    assert np.mean(answers) == pytest.approx(float(known), abs=0.06)


def test_it_is_saved_beside_the_weights_and_read_again(fitted, tmp_path):
    assert Familiarity.load(tmp_path, 8) is None
    fitted.save(tmp_path)
    again = Familiarity.load(tmp_path, 8)
    assert again is not None
    assert again.limit == pytest.approx(fitted.limit)
    picture = pictures(1)[0]
    assert again.knows(picture) == fitted.knows(picture)


def test_both_ways_of_being_strange_add_up(fitted):
    kinds = pictures(50), pictures(50, 0.7), pictures(50, 0.0, 1.2), pictures(50, 0.7, 1.2)
    same, moved, wider, both = (fitted.strangeness(k).mean() for k in kinds)
    assert same < min(moved, wider)
    assert max(moved, wider) < both


def test_one_of_another_model_is_left_out(fitted, tmp_path, caplog):
    fitted.save(tmp_path)
    assert Familiarity.load(tmp_path, 16) is None
    assert "left out" in caplog.text


def test_a_damaged_one_is_left_out(tmp_path, caplog):
    (tmp_path / FILE).write_bytes(b"no safetensors")
    assert Familiarity.load(tmp_path, 8) is None
    assert "damaged" in caplog.text


def test_a_strangers_file_is_measured_before_it_is_read(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        file.truncate(1 << 30)
    for name in ("safetensors.safe_open", "safetensors.numpy.load_file"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it was read"))
    assert Familiarity.load(tmp_path, 8) is None


def test_numbers_of_another_kind_are_left_out(fitted, tmp_path):
    """As a stranger may write them; the answers go on without."""
    import torch
    from safetensors.torch import load_file, save_file

    fitted.save(tmp_path)
    held = load_file(tmp_path / FILE)
    save_file({**held, "limit": held["limit"].to(torch.bfloat16)}, tmp_path / FILE)
    loaded = Familiarity.load(tmp_path, 8)
    assert loaded is None or loaded.limit == pytest.approx(fitted.limit, rel=0.01)
