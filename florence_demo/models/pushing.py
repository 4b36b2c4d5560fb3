"""Put a model's folder on the Hugging Face hub: what goes, and the words where it does not.

Knows the hub's client and which files a model is made of. Whatever else lies in a run's folder, its
settings, its log, its data, stays here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

from florence_demo.checkpoints.info import CheckpointInfo, called
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.reading import LIMITS, MERGES
from florence_demo.errors import CheckpointError, InputError, plain
from florence_demo.models.catalogue import HUB_ID, MODELS, REVISION, is_hub_name

log = logging.getLogger(__name__)

CARD = "README.md"
_BESIDE = (
    *(*LIMITS, MERGES, "tokenizer_config.json", "special_tokens_map.json"),
    *("confidence.json", "familiarity.safetensors", CARD),
)
"""Files that a model may have beside its weights."""


def files_to_push(folder: Path) -> dict[str, Path]:
    """Return the files of a model, by their names on the hub; an adapter of a run goes along.

    Args:
        folder: Of a run, a checkpoint or an adapter.

    Raises:
        CheckpointError: There is no model in it, or nobody else could open it.
    """
    info = inspect_checkpoint(folder)
    if info.pickled:
        raise CheckpointError(
            f"{folder.name} is a pickle, which is not put on the hub: write it as safetensors with"
            " `python -m florence_demo convert` first."
        )
    if info.layout == "adapter" and not _base_is_known(info):
        base = called(info.base or "a base without a name")
        raise CheckpointError(
            f"{folder.name} is an adapter of {base}, which nobody else has: push the folder of the"
            " run, which holds the merged model, or push the base and name it by its id in"
            " adapter_config.json."
        )
    found = _files(folder, info)
    adapter = folder / "adapter"
    if info.layout != "adapter" and (adapter / "adapter_config.json").is_file():
        inner = inspect_checkpoint(adapter)
        if _base_is_known(inner):
            found |= {f"adapter/{name}": path for name, path in _files(adapter, inner).items()}
    return found


def _base_is_known(info: CheckpointInfo) -> bool:
    base = info.base or ""
    return is_hub_name(base) or base in MODELS


def _files(folder: Path, info: CheckpointInfo) -> dict[str, Path]:
    names = dict.fromkeys((*info.files, *_BESIDE))
    return {name: folder / name for name in names if (folder / name).is_file()}


def check_name(name: str) -> None:
    """Raise InputError where a name is no id of the hub."""
    if not HUB_ID.fullmatch(name):
        raise InputError(f"“{plain(name)}” is no id of the hub: write owner/name.")


def check_branch(name: str) -> None:
    """Raise InputError where a name is no branch of the hub."""
    if not REVISION.fullmatch(name) or ".." in name:
        raise InputError(f"“{plain(name)}” is no name of a branch: write one such as v2.")


def push(
    files: dict[str, Path], name: str, private: bool = False, branch: str | None = None
) -> str:
    """Put files into a repository of the hub, which is made where there is none; return its page.

    They appear together: large ones go first, each by itself, and one commit names them all.

    Args:
        files: Of ``files_to_push``.
        name: "owner/name".
        private: Whether a new repository is for its owner alone.
        branch: Where they go, made where there is none; None for the usual one.

    Raises:
        InputError: A name is none, nobody is logged in, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_name(name)
    if branch is not None:
        check_branch(branch)
    api = HfApi()
    made = False
    try:
        page = str(api.create_repo(name, private=private or None, exist_ok=True))
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        made = True
        adding = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        api.create_commit(
            name, adding, commit_message="Add a fine-tuned Florence-2", revision=branch
        )
    except Exception as exc:  # whatever the client and the network between raise
        said = _in_a_sentence(exc, name)
        raise (InputError(f"{said} {_HALF_WAY.format(plain(name))}") if made else said) from exc
    return page if branch is None else f"{page}/tree/{quote(branch, safe='')}"


_HALF_WAY = (
    "The files appear in {} together or not at all, so none is there: push again, and large ones"
    " that arrived are not sent again."
)


def _in_a_sentence(exc: Exception, name: str) -> InputError:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    status = exc.response.status_code if isinstance(exc, HfHubHTTPError) else None
    if status == 401 or isinstance(exc, LocalTokenNotFoundError):
        return InputError("Nobody is logged in to the hub: run `hf auth login` first.")
    if status == 403:
        return InputError(
            f"The hub does not let you write to {plain(name)}: take an owner that is you or a group"
            " of yours, and a token that may write."
        )
    log.info("%s was not pushed", name, exc_info=exc)
    if status is not None or isinstance(exc, ValueError):
        return InputError(f"The hub refused {plain(name)} ({plain(exc, 200)}): mend that first.")
    return InputError(
        "The Hugging Face hub cannot be reached: check the connection, and that HF_HUB_OFFLINE is"
        " not set, then push again."
    )
