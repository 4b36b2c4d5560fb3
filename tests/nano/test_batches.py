from __future__ import annotations

import dataclasses
import pickle
from itertools import islice, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from florence_demo.nano.architecture import Sizes, build_model
from florence_demo.nano.learning import stream as stream_module
from florence_demo.nano.learning.batches import Batch, Parcel, Words, collate
from florence_demo.nano.learning.learner import Learner, Shares
from florence_demo.nano.learning.loop import Gauges
from florence_demo.nano.learning.samples import (
    IGNORE,
    SLOTS,
    TEXT_CLASS,
    Question,
    make_sample,
)
from florence_demo.nano.learning.stream import Stream, feed
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.tokenizer import CELLS, build_processor

MICRO = Sizes(stages=(16, 32, 32), depths=(0, 1, 1), width=32, layers=(1, 1), head=16)
KINDS = ("objects", "sign", "page", "form")
BINS = 1000


@pytest.fixture(scope="module")
def processor():
    return build_processor(["Ġdog", "What", "Ġis", "Ġthe", "Ġimage", *CLASSES])


@pytest.fixture(scope="module")
def words(processor):
    return Words.of(processor.tokenizer)


@pytest.fixture(scope="module")
def library():
    return Library.drawn()


@pytest.fixture(scope="module")
def samples(processor, library):
    rng = np.random.default_rng(0)
    scenes = [make_scene(i, 192, library=library, kind=kind) for i, kind in enumerate(KINDS)]
    return [make_sample(scene, processor.tokenizer, 3, rng) for scene in scenes]


@pytest.fixture(scope="module")
def batch(samples, words):
    return collate(samples, words, group=5)


@pytest.fixture
def learner(processor):
    torch.manual_seed(0)
    return Learner(build_model(processor, MICRO), processor).train()


def tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, tuple):
        return [t for part in value for t in tensors(part)]
    if dataclasses.is_dataclass(value):
        return [t for f in dataclasses.fields(value) for t in tensors(getattr(value, f.name))]
    return []


def assert_same(one: Batch, two: Batch) -> None:
    pairs = list(zip(tensors(one), tensors(two), strict=True))
    assert len(pairs) > 30
    for a, b in pairs:
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert (one.tasks, one.pairs) == (two.tasks, two.pairs)
    assert [g.kinds for g in one.groups] == [g.kinds for g in two.groups]


# What a batch holds


def test_a_batch_holds_what_the_samples_hold(batch, samples):
    for name in ("pixels", "classes", "boxes", "masks", "colours", "slots", "letters"):
        stacked = np.stack([getattr(sample, name) for sample in samples])
        assert np.array_equal(getattr(batch, name).numpy(), stacked)
    flat = batch.classes.flatten()
    for places, held in (
        (batch.things, flat > 0),
        (batch.solid, (flat > 0) & (flat < TEXT_CLASS)),
        (batch.written, flat == TEXT_CLASS),
        (batch.spelled, batch.letters.flatten() != IGNORE),
    ):
        assert torch.equal(places, held.nonzero()[:, 0])
        assert len(places)


def test_the_groups_hold_every_question_once_short_answers_first(batch, samples, words):
    asked = [(i, q) for i, sample in enumerate(samples) for q in sample.questions]
    asked.sort(key=lambda row: len(row[1].answer))
    assert batch.pairs == len(asked)
    assert [len(group.rows) for group in batch.groups] == [5, 5, 2]
    at = iter(asked)
    for group in batch.groups:
        for i, row in enumerate(group.rows.tolist()):
            picture, question = next(at)
            assert row == picture
            assert [t for t in group.prompts[i].tolist() if t != words.pad] == question.prompt
            assert [t for t in group.answers[i].tolist() if t != words.pad] == question.answer
            assert batch.tasks[int(group.tasks[i])] == question.task
            assert (i in group.placed) == (question.marks[0] >= 0)
        for mark, i in zip(group.marks, group.placed.tolist(), strict=True):
            question = asked[[g is group for g in batch.groups].index(True) * 5 + i][1]
            assert np.array_equal(mark.numpy(), question.marks)
    assert batch.asked.tolist() == [sum(q.task == task for _, q in asked) for task in batch.tasks]


def test_a_question_counts_as_the_root_of_its_answer(batch, samples):
    roots = sorted(len(q.answer) ** 0.5 for sample in samples for q in sample.questions)
    shares = [
        group.shares[group.owners == i].sum().item()
        for group in batch.groups
        for i in range(len(group.rows))
    ]
    assert shares == pytest.approx([root / sum(roots) for root in roots], rel=1e-5)


def test_every_token_but_the_first_is_learned(batch, words):
    first = words.first
    for group in batch.groups:
        width = group.answers.shape[1]
        rows, columns = group.learned // width, group.learned % width
        assert torch.equal(rows, group.owners)
        assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
            (row, column)
            for row, column in product(range(len(group.rows)), range(1, width))
            if group.answers[row, column] != words.pad
        }
        targets = group.answers[rows, columns]
        located = ((targets >= first) & (targets < first + BINS)).nonzero()[:, 0]
        assert torch.equal(group.located, located)
        assert torch.equal(torch.bincount(group.owners).float(), group.lengths)


def test_cells_are_to_say_what_they_hold(batch, samples, words):
    said = 0
    for group in batch.groups:
        assert group.kinds[0] + group.kinds[1] + group.kinds[2] == len(group.said)
        assert len(group.cells.unique()) == len(group.cells) <= 12 * len(group.rows)
        for thing, target in zip(group.said.tolist(), group.targets.tolist(), strict=True):
            cell, which = group.cells[thing // (5 + SLOTS)].item(), thing % (5 + SLOTS)
            sample = samples[group.rows[cell // CELLS**2]]
            here = cell % CELLS**2
            assert sample.classes[here] > 0
            if which == 0:
                wanted = words.classes[sample.classes[here]]
            elif which < 5:
                wanted = words.first + min(999, int(sample.boxes[here][which - 1] * 1000))
            else:
                assert sample.classes[here] == TEXT_CLASS
                wanted = words.letters[sample.slots[here][which - 5]]
            assert target == int(wanted)
            said += 1
        kinds = [0 if t == 0 else 1 if t < 5 else 2 for t in (group.said % (5 + SLOTS)).tolist()]
        assert kinds == sorted(kinds)
        assert tuple(kinds.count(k) for k in range(3)) == group.kinds
        empty = [t for t in group.targets[group.kinds[0] + group.kinds[1] :] if t == words.pad]
        assert len(empty) <= len(group.cells)
    assert said > 100


def test_a_batch_may_ask_nothing(samples, words):
    blind = collate([dataclasses.replace(s, questions=()) for s in samples], words, 8)
    assert (blind.groups, blind.tasks, blind.pairs) == ((), (), 0)


# How it travels


@pytest.mark.parametrize("shared", [True, False], ids=["memory", "pipe"])
def test_a_parcel_holds_the_batch_in_one_piece(batch, shared):
    parcel = Parcel.of(batch, shared=shared)
    assert tensors(parcel.plan) == []
    assert isinstance(parcel.memory, torch.Tensor) == shared
    assert_same(pickle.loads(pickle.dumps(parcel)).to("cpu"), batch)


@pytest.mark.parametrize("room", [True, False], ids=["memory", "pipe"])
def test_batches_drawn_beside_are_those_drawn_here(processor, library, monkeypatch, room):
    def drawn(workers: int) -> list[Batch]:
        stream = Stream(library, processor.tokenizer, 2, 8, 0, 100)
        return list(islice(feed(stream, workers, "cpu"), 2))

    monkeypatch.setattr(stream_module, "_is_room", lambda need: room)
    for one, two in zip(drawn(0), drawn(1), strict=True):
        assert type(two) is Batch
        for a, b in zip(tensors(one), tensors(two), strict=True):
            assert torch.equal(a, b)


def test_processes_beside_share_the_seeds(processor, library, monkeypatch):
    def pictures(workers: int) -> set[bytes]:
        stream = Stream(library, processor.tokenizer, 2, 8, 0, 100)
        # As many batches of each of them as are drawn alone.
        batches = islice(feed(stream, workers, "cpu"), 2)
        return {picture.numpy().tobytes() for batch in batches for picture in batch.pixels}

    # Alone a tower sees things of earlier scenes, too: not here.
    monkeypatch.setattr(stream_module, "crowded", lambda scenes: scenes[0])
    assert len(pictures(0)) == 4
    assert pictures(2) == pictures(0)


def test_shared_memory_that_is_too_small_is_told(monkeypatch, caplog):
    free = 64 << 20
    monkeypatch.setattr(stream_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert stream_module._is_room(free)
    assert caplog.text == ""
    assert not stream_module._is_room(12 * 2 * 128 * stream_module._PICTURE)
    assert "67 MB free of 805 MB" in caplog.text


def test_a_picture_takes_no_more_memory_than_is_reckoned(batch):
    assert len(Parcel.of(batch).memory) <= len(batch.pixels) * stream_module._PICTURE


# What is learned from it


def alone(learner, samples, words) -> list[tuple[Question, torch.Tensor]]:
    """Ask each question by itself, as plainly as can be, and return its loss."""
    losses = []
    language = learner.model.model.language_model
    start = torch.tensor([[learner.model.config.text_config.decoder_start_token_id]])
    for sample in samples:
        features, _ = learner.see(collate([sample], words, 1))
        projected = learner.model.model.multi_modal_projector(features)
        for question in sample.questions:
            prompt, answer = torch.tensor([question.prompt]), torch.tensor([question.answer])
            inputs = torch.cat([projected, language.shared(prompt)], dim=1)
            hidden = language.decoder(
                input_ids=torch.cat([start, answer[:, :-1]], dim=1),
                encoder_hidden_states=language.encoder(inputs_embeds=inputs)[0],
                use_cache=False,
            )[0]
            logp = learner.model.lm_head(hidden)[0, 1:].log_softmax(-1)
            places = logp[:, words.first : words.first + BINS]
            tokens = [
                (places[i] * learner.answer.soft[token - words.first]).sum()
                if 0 <= token - words.first < BINS
                else logp[i, token]
                for i, token in enumerate(question.answer[1:])
            ]
            losses.append((question, -torch.stack(tokens).mean()))
    return losses


def test_an_answer_costs_what_it_costs_alone(learner, batch, samples, words):
    with torch.no_grad():
        losses = [(question.task, loss.item()) for question, loss in alone(learner, samples, words)]
    said = learner.learn(batch, Shares())
    assert said["answer"].item() == pytest.approx(np.mean([x for _, x in losses]), rel=1e-4)
    assert {f"task_{task}" for task, _ in losses} == {n for n in said if n.startswith("task_")}
    for task in batch.tasks:
        mean = np.mean([x for name, x in losses if name == task])
        assert said[f"task_{task}"].item() == pytest.approx(mean, rel=1e-4)


def test_a_batch_teaches_what_its_questions_teach_alone(learner, batch, samples, words):
    learner.learn(batch, Shares(dense=0, cells=0, marks=0))
    parts = (
        learner.model.model.language_model.decoder.layers[0].fc1.weight,
        learner.model.model.language_model.encoder.layers[0].fc1.weight,
        learner.model.model.multi_modal_projector.image_projection.weight,
        learner.model.model.vision_tower.convs[0].conv.weight,
    )
    learned = [part.grad.clone() for part in parts]
    learner.zero_grad(set_to_none=True)
    losses = alone(learner, samples, words)
    weights = [len(question.answer) ** 0.5 for question, _ in losses]
    total = sum(w * loss for w, (_, loss) in zip(weights, losses, strict=True)) / sum(weights)
    total.backward()
    for gradient, part in zip(learned, parts, strict=True):
        torch.testing.assert_close(gradient, part.grad, rtol=1e-3, atol=1e-6)


def test_how_questions_are_grouped_changes_nothing(learner, samples, words):
    # The heads of cells draw, and average, a group: here they rest.
    shares = Shares(cells=0, marks=0)
    found = []
    for group in (1, 5, 128):
        said = learner.learn(collate(samples, words, group), shares)
        gradients = {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}
        found.append((said, gradients))
        learner.zero_grad(set_to_none=True)
    (first, gradients), *others = found
    for said, theirs in others:
        assert said.keys() == first.keys()
        for name, value in said.items():
            torch.testing.assert_close(value, first[name], rtol=1e-4, atol=1e-5)
        assert theirs.keys() == gradients.keys()
        for name, gradient in theirs.items():
            torch.testing.assert_close(gradient, gradients[name], rtol=1e-3, atol=1e-6)


class Waits(TorchDispatchMode):
    """Count what a GPU would have to be waited for."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        picked = name in ("index", "index_put", "index_put_") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in args[1]
        )
        if name in self.WAIT or picked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_not_waited_for_in_a_step(learner, batch):
    gauges = Gauges()
    learner.learn(batch, Shares())
    with Waits() as waits:
        for _ in range(3):
            gauges.add(learner.learn(batch, Shares()))
    assert waits.found == []
    with Waits() as waits:
        looked = gauges.look()
    assert "answer" in looked
    assert len(waits.found) <= 1


def test_gauges_tell_the_mean_since_the_last_look():
    gauges = Gauges()
    assert gauges.look() == {}
    gauges.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)})
    gauges.add({"a": torch.tensor(2.0)})
    assert gauges.look() == {"a": 1.5, "b": 5.0}
    assert gauges.look() == {}
