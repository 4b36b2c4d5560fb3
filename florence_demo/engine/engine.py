"""One model that answers: from a picture and a task to a ``Prediction``.

Knows the order of one request: check, prompt, pixels, tokens, decode. Does not know what a task is
about (``tasks``), how an answer is written (``codec``), how tokens are searched (``decoding``) or
how anything is shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from florence_demo.codec import TEXT, past_the_last
from florence_demo.engine.batching import Batcher, Visits
from florence_demo.engine.confidence import Confidence
from florence_demo.engine.familiarity import Familiarity
from florence_demo.engine.request import Options as Options
from florence_demo.errors import InputError
from florence_demo.models.loading import LoadedModel
from florence_demo.pictures.images import Source, open_image
from florence_demo.pictures.room import LARGE
from florence_demo.prediction import Prediction
from florence_demo.regions import Region
from florence_demo.tasks import TASKS, Task, task_named

if TYPE_CHECKING:
    import torch

    from florence_demo.decoding.rules import Generated
from florence_demo.engine.feature_cache import FeatureCache, fingerprint, in_rgb
from florence_demo.engine.jobs import Caller, Job
from florence_demo.engine.many import Asked, ask_many
from florence_demo.engine.memory import Room, in_room
from florence_demo.engine.notices import Course, notices_of
from florence_demo.engine.parts import MAX_BATCH as MAX_BATCH
from florence_demo.engine.pieces import Cutter
from florence_demo.engine.question import Question, ask
from florence_demo.engine.request import USUAL, OnStep, Request, Stopped
from florence_demo.engine.seen import Seen, encode_seen
from florence_demo.engine.tally import UNHEARD, Tally

log = logging.getLogger(__name__)


class Engine:
    """Answer every task with one model; safe to call from several threads.

    Args:
        loaded: The model.
        tally: Told of the work.
    """

    def __init__(self, loaded: LoadedModel, tally: Tally = UNHEARD) -> None:
        from florence_demo.decoding.decoder import Decoder

        self.loaded, self._tally = loaded, tally
        # An adapter is taken out of the original weights again, so those stay.
        self._decoder = Decoder(loaded.model, release=loaded.base is None, int8=loaded.int8)
        self.retired = False
        self._turns = self._decoder.turns
        self._batcher = Batcher(self._see, MAX_BATCH, self._turns)
        self._visits = Visits()
        self._familiarity = Familiarity.load(
            loaded.folder, int(loaded.model.config.vision_config.projection_dim)
        )
        self._confidence = Confidence.load(loaded.folder)
        self._features = FeatureCache(tally=tally)
        config = loaded.model.config
        self._positions = int(config.text_config.max_position_embeddings)
        self._cut = Cutter(loaded.processor.tokenizer)

    def ask(
        self,
        picture: Source,
        task: str,
        text: str = "",
        region: Region | Sequence[Region] | None = None,
        options: Options = USUAL,
    ) -> Prediction:
        """Answer one question about a picture from anywhere but the web.

        Args:
            picture: A path, bytes, a Pillow image or an array.
            task: Name of the task, "od".
            text: Words, for a task that needs them; "cat, dog" is a list where it takes one.
            region: x1, y1, x2, y2 in pixels, for a task that needs a region, or several such.
            options: How the answer is searched.

        Raises:
            InputError: There is no such task, or the input does not fit it or the model.
        """
        question = Question.of(open_image(picture), task_named(task), text, region)
        return ask(self, question, options)

    def ask_many(
        self,
        pictures: Iterable[Source],
        task: str | Sequence[str],
        text: str = "",
        options: Options = USUAL,
        *,
        batch_size: int | None = None,
        give_errors: bool = False,
    ) -> Iterator[Any]:
        """Yield the answers about many pictures, in order; the next are opened meanwhile.

        Args:
            pictures: Each as ``ask`` takes it; may be endless, a thread draws from it.
            task: Name of the task, or several names: then a tuple of answers is yielded.
            text: Words, for a task that needs them.
            options: How the answers are searched.
            batch_size: Pictures asked about at once; by default what suits the machine.
            give_errors: Yield an InputError in the place of its answer, and go on after it.

        Raises:
            InputError: There is no such task, or a picture cannot be used.
        """
        names = [task] if isinstance(task, str) else task
        for found in ask_many(self, pictures, Asked.of(names, text, options), batch_size):
            failed = next((each for each in found if isinstance(each, InputError)), None)
            if failed and not give_errors:
                raise failed
            yield found[0] if isinstance(task, str) else found

    def predict(
        self,
        image: Image.Image | Seen,
        task: Task,
        text: str = "",
        region: Region | None = None,
        options: Options = USUAL,
        *,
        on_step: OnStep | None = None,
    ) -> Prediction:
        """Answer one question about one picture.

        Args:
            image: The picture, any size.
            task: One of ``TASKS``.
            text: Words, for a task that needs them.
            region: x1, y1, x2, y2 in pixels, for a task that needs a region.
            options: How the answer is searched.
            on_step: Called while the answer grows, see ``OnStep``.

        Raises:
            InputError: The input does not fit the task or the model.
            Stopped: ``on_step`` returned False.
        """
        return self.predict_batch([Request(image, task, text, region)], options, on_step=on_step)[0]

    def predict_batch(
        self,
        requests: Sequence[Request],
        options: Options = USUAL,
        *,
        on_step: OnStep | None = None,
    ) -> list[Prediction]:
        """Answer several questions at once; pictures that are the same are encoded once.

        Args:
            requests: The questions, in the order of the answers.
            options: How all answers are searched.
            on_step: Called with the first question's answer so far; it stops all of them.

        Raises:
            InputError: Some input does not fit its task or the model, or memory is too little.
            Stopped: ``on_step`` returned False.
        """
        options.check()
        room = Room()
        found = in_room(lambda some: self._batch_answered(some, options, on_step), requests, room)
        return found if room.most is None else [replace(each, room=room.most) for each in found]

    def _batch_answered(
        self, requests: Sequence[Request], options: Options, on_step: OnStep | None
    ) -> list[Prediction]:
        started = time.perf_counter()
        requests = self._with_first_stage(requests, options, on_step)
        prompts = [r.task.build_prompt(r.text, r.region, r.image.size) for r in requests]
        caller = Caller(on_step)
        distinct = {id(r.image): r.image for r in requests}
        pictures = {key: _digest(image) for key, image in distinct.items()}
        jobs = [
            Job(r, self._tokenize(prompt), options, caller, pictures[id(r.image)])
            for r, prompt in zip(requests, prompts, strict=True)
        ]
        jobs[0].told = on_step is not None
        with self._visits.visit():
            generated = self._answer(jobs)
        seconds = (time.perf_counter() - started) / len(requests)
        return [
            self._prediction(job, prompt, answer, seconds)
            for job, prompt, answer in zip(jobs, prompts, generated, strict=True)
        ]

    def _with_first_stage(
        self,
        requests: Sequence[Request],
        options: Options,
        on_step: OnStep | None,
    ) -> list[Request]:
        """Ask for the texts of tasks that work on another task's answer."""
        waiting = [i for i, r in enumerate(requests) if r.task.after]
        result = list(requests)
        if not waiting:
            return result
        for i in waiting:
            if requests[i].text.strip() or requests[i].region:
                raise InputError(
                    f"“{requests[i].task.title}” writes its own text: clear the text box."
                )
        first = [Request(requests[i].image, TASKS[requests[i].task.after or ""]) for i in waiting]
        answers = self._batch_answered(first, options, on_step)
        for i, answer in zip(waiting, answers, strict=True):
            if not answer.text:
                raise InputError(
                    "The model wrote no caption for this picture, so there is nothing to find in"
                    " it: try another picture or another model."
                )
            result[i] = Request(requests[i].image, requests[i].task, answer.text)
        return result

    def _tokenize(self, prompt: str) -> list[int]:
        """Return the prompt's token ids with <s> and </s>.

        Raises:
            InputError: Picture and prompt together exceed the model's positions.
        """
        # The token that stands for a picture is no word a person can say.
        words = prompt.replace(self.loaded.processor.image_token, " ")
        ids: list[int] = self.loaded.processor.tokenizer(words)["input_ids"]
        room = self._positions - int(self.loaded.processor.num_image_tokens)
        if len(ids) > room:
            raise InputError(
                f"The text is too long for this model: {len(ids)} tokens, {room} fit beside the"
                " picture. Shorten it."
            )
        return ids

    def _encode(
        self, jobs: Sequence[Job], before_block: Callable[[], None] | None = None
    ) -> torch.Tensor:
        """Return image features (B, T, D), running the vision tower on new pictures only.

        Args:
            jobs: The questions, about pictures of any size.
            before_block: Called before each of the tower's blocks; what it raises ends the pass.
        """
        import torch

        def encode(values: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return self._decoder.encode_image(
                    values.to(self.loaded.device, self.loaded.dtype), before_block=before_block
                )

        asked = {job.picture: job.request.image for job in jobs}
        pictures = {key: image for key, image in asked.items() if not isinstance(image, Seen)}
        found = self._features.features(
            pictures, lambda given: encode(self._pixels(given)), MAX_BATCH
        )
        ready = {key: image for key, image in asked.items() if isinstance(image, Seen)}
        encode_seen(list(ready.values()), encode, MAX_BATCH)
        found |= {key: seen.features for key, seen in ready.items() if seen.features is not None}
        return torch.stack([found[job.picture] for job in jobs])

    def _pixels(self, given: Sequence[Image.Image]) -> torch.Tensor:
        """Return what the vision tower takes of some pictures, (B, 3, H, W)."""
        import torch

        pictures = [in_rgb(picture) for picture in given]
        # Of equal size they would be copied into one piece first: large ones go one by one.
        several = max(p.width * p.height for p in pictures) < LARGE
        pixels = [
            self.loaded.processor.image_processor(images=images, return_tensors="pt")
            for images in ([pictures] if several else [[p] for p in pictures])
        ]
        return torch.cat([each["pixel_values"] for each in pixels])

    def prepare(self, image: Image.Image) -> Seen:
        """Return a picture as this model sees it, to be asked about instead of the picture.

        Any thread may do that while the model works. Its features are kept as long as the result
        is, and nowhere else.
        """
        return Seen(image.size, fingerprint(image), self._pixels([image]))

    def knows(self, image: Image.Image) -> bool:
        """Say whether a picture is like those of the training; True where nothing tells.

        What the model sees of it is kept for the question that follows.
        """
        if self._familiarity is None:
            return True
        question = Request(image, TASKS["caption"])
        with self._visits.visit(), self._batcher.at_rest():
            if self.retired:
                return True
            features = self._encode([Job(question, [], USUAL, Caller(None), fingerprint(image))])
            return self._familiarity.knows(features[0].float().cpu().numpy())

    def hand_over(self, change: Callable[[LoadedModel], LoadedModel]) -> Engine:
        """Return an engine for the changed model; this one answers no more.

        Args:
            change: Changes the model in place once the running answers are done, or raises: then
                this engine goes on as it was.
        """
        with self._visits.alone():
            loaded = change(self.loaded)
            self.retired = True
            del self._decoder
        return Engine(loaded, self._tally)

    @property
    def side(self) -> int:
        """Return the pixels of the longer side that the model sees of a picture."""
        seen = self.loaded.processor.image_processor
        size = seen.crop_size if seen.do_center_crop else seen.size
        return max(int(size["height"]), int(size["width"]))

    @property
    def moved(self) -> float:
        """Return when the model last did something, by ``time.monotonic``."""
        return self._turns.moved

    @property
    def cached_bytes(self) -> int:
        """Return the bytes of image features kept for further questions."""
        return self._features.bytes

    @property
    def captured_bytes(self) -> int:
        """Return the bytes of a GPU that hold passes captured to be replayed."""
        return 0 if self.retired else self._decoder.captured_bytes

    def _answer(self, jobs: list[Job]) -> list[Generated]:
        """Return the answers to one caller's jobs, found together with those of others."""
        import torch

        from florence_demo.decoding.rules import DecodeOptions

        if self.retired:
            raise InputError("Another adapter took this one's place meanwhile: load it again.")
        caller, options = jobs[0].caller, jobs[0].options
        features = self._batcher.submit(jobs, None)
        if caller.stopped:
            raise Stopped
        settings = DecodeOptions.from_generation_config(
            self.loaded.model.generation_config,
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            do_sample=options.do_sample,
            temperature=options.temperature,
            seed=options.seed,
            locations=self._cut.locations,
            loop_guard=options.loop_guard,
        )

        def step(_step: int, leading: list[list[int]]) -> bool:
            self._tell(jobs[0], leading[0])
            return not caller.stopped

        with torch.inference_mode():
            seen, asked = torch.stack(features), [job.ids for job in jobs]
            on_step = step if jobs[0].told else None
            generated = self._decoder.decode(seen, asked, settings, on_step=on_step)
        if caller.stopped:
            raise Stopped
        return generated

    def _see(self, jobs: list[Job]) -> list[torch.Tensor]:
        """Return what the model sees of each job's picture; one thread at a time is here."""
        import torch

        told = [job for job in jobs if job.told]
        self._tally.batch(len(jobs))

        def before_block() -> None:
            self._turns.moved = time.monotonic()
            for job in (each for each in told if not each.caller.stopped):
                self._tell(job, [])
            # The work ends when nobody waits for it any more.
            if all(job.caller.stopped for job in jobs):
                raise Stopped

        with torch.inference_mode():
            features = self._encode(jobs, before_block)
            if self._familiarity:
                for job, feature in zip(jobs, features, strict=True):
                    job.familiar = self._familiarity.knows(feature.float().cpu().numpy())
            return list(features)

    def _tell(self, job: Job, ids: list[int]) -> None:
        """Offer the answer so far to whoever asked; remember when that person stops."""
        answer, size, caller = job.request.task.answer, job.request.image.size, job.caller
        assert caller.on_step is not None
        caller.stopped = not caller.on_step(lambda: answer.decode(self._cut(ids), size))

    def _prediction(
        self, job: Job, prompt: str, generated: Generated, seconds: float
    ) -> Prediction:
        request = job.request
        pieces = self._cut(generated.ids, generated.logprobs)
        decoded = request.task.answer.decode(pieces, request.image.size)
        found = decoded.detections.named(request.text if request.task.needs == "text" else "")
        rated = self._confidence.rate(request.task, found) if self._confidence else None
        text = decoded.text or (request.text if request.task.after else "")
        course = Course(
            job.familiar,
            generated.looped,
            len(generated.ids) if generated.truncated else 0,
            job.options.max_new_tokens,
            0 if request.task.answer is TEXT else past_the_last(pieces),
            not text and not len(found),
        )
        log.info(
            "%s %s: %d tokens in %.2f s",
            self.loaded.title,
            request.task.name,
            len(generated.ids),
            seconds,
        )
        return Prediction(
            task=request.task.name,
            prompt=prompt,
            raw="".join(p.text for p in pieces),
            text=text,
            size=request.image.size,
            detections=found if rated is None else rated,
            parsed=request.task.parse(decoded.value),
            model=self.loaded.title,
            device=str(self.loaded.device),
            seconds=seconds,
            tokens=len(generated.ids),
            truncated=generated.truncated,
            looped=generated.looped,
            notices=tuple(notices_of(course)),
            calibrated=rated is not None,
            picture=job.picture,
        )


def _digest(image: Image.Image | Seen) -> str:
    return image.digest if isinstance(image, Seen) else fingerprint(image)
