"""Networks to files and back, from a folder, the Hugging Face Hub or its cache.

A network is stored as diffusers does it: `config.json` with the constructor's arguments beside one or more
`.safetensors` files. What is added here is strictness: diffusers goes on, with a line in the log, when a
weight is missing, and falls back to pickled files. Here whatever is wrong raises one sentence.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open

from lirec.errors import LirecError

WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_INDEX = WEIGHTS + ".index.json"
# The only files that are fetched from a repository: nothing that could run.
FETCHED = ("*.json", "*.safetensors")
# Repositories with larger files need Git LFS or Xet even for a plain clone.
MAX_SHARD_SIZE = "14MB"

Model = TypeVar("Model", bound=ModelMixin)


def find_folder(
    source: str | os.PathLike,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the folder on this machine that holds the model `source`, fetching it where needed.

    Args:
        source: a folder, or a repository's id on the Hub ("user/name").
        revision: a branch, tag or commit on the Hub; not used for a folder.
        cache_dir: where fetched files are kept, by default the Hub's own cache. Without a network, what is
            there is used as it is.
        token: for repositories that are not public; by default that of `hf auth login` or `HF_TOKEN`.
        local_files_only: do not ask the Hub, use the cache.

    Raises:
        LirecError: there is neither such a folder nor such a repository, or the Hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    name = os.fspath(source)
    if folder.exists():
        raise LirecError(f"{name} is a file: give the folder that it lies in, or a Hub id.")
    fetch = partial(
        snapshot_download,
        name,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        allow_patterns=list(FETCHED),
    )
    try:
        return Path(fetch(local_files_only=local_files_only))
    except HFValidationError as error:
        raise LirecError(f"There is no folder {name}: give a trained model's folder or Hub id.") from error
    except GatedRepoError as error:
        raise LirecError(
            f"{name} asks you to accept its terms: do so on its page on the Hub, then run `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise LirecError(
            f"{name} is neither a folder here nor a repository on the Hub that you may read: check the name, "
            "or run `hf auth login` if it is not public."
        ) from error
    except RevisionNotFoundError as error:
        raise LirecError(f"{name} has no revision {revision!r}: give a branch, tag or commit.") from error
    except LocalEntryNotFoundError as error:
        raise LirecError(
            f"{name} is not a folder here, the cache does not hold all of it, and the Hub was not reached: "
            "check the name and the network."
        ) from error
    except Exception as error:  # a network that is not quite down
        try:
            return Path(fetch(local_files_only=True))
        except Exception:
            raise LirecError(
                f"{name} could not be fetched from the Hub ({type(error).__name__}): try again later."
            ) from error


def load_model(
    model_class: type[Model],
    source: str | os.PathLike,
    subfolder: str = "",
    *,
    dtype: torch.dtype = torch.float32,
    **where,
) -> Model:
    """Load one network, ready for use (`eval()`), and make sure that it is whole.

    Args:
        model_class: what is stored there, for example `RecNet`.
        source, where: as in `find_folder`.
        subfolder: where it lies in `source`.
        dtype: of the loaded floating-point weights, whatever they are stored in.

    Raises:
        LirecError: the folder, `config.json` or weights are missing, damaged, incomplete or another's.
    """
    folder = find_folder(source, **where) / subfolder
    config = read_json(folder / "config.json", f"{folder} holds no {model_class.__name__}")
    if config.get("_class_name", model_class.__name__) != model_class.__name__:
        raise LirecError(f"{folder} holds a {config['_class_name']}, not a {model_class.__name__}.")
    stored = _stored_names(folder)
    try:
        with _quiet_diffusers():
            # Otherwise weights that are missing would have no storage where accelerate is installed.
            model, info = model_class.from_pretrained(
                folder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
            )
    except Exception as error:
        raise LirecError(
            f"The weights in {folder} do not fit the {model_class.__name__} that its config.json describes: "
            "fetch the folder again."
        ) from error
    missing = sorted({*info["missing_keys"], *(set(model.state_dict()) - stored)})
    strange = sorted(info["unexpected_keys"])
    if missing or strange:
        names, what = (missing, "lack") if missing else (strange, "have too many:")
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise LirecError(
            f"The weights in {folder} {what} {names[0]}{more}: fetch the folder again, or use the version of "
            "lirec that wrote it."
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LirecError(f"The weights in {folder} are damaged: {name} is not all numbers.")
    # diffusers takes weights in the type that they are stored in when the first one happens to fit. Its own
    # `to` warns whenever a type is given.
    return torch.nn.Module.to(model, dtype)


def load_one_of(model_classes: Sequence[type[ModelMixin]], source: str | os.PathLike, **where) -> ModelMixin:
    """Load a network of whichever of some classes is stored there; the rest is as of `load_model`."""
    folder = find_folder(source, **where)
    classes = {model_class.__name__: model_class for model_class in model_classes}
    kind = read_json(folder / "config.json", f"{folder} holds no network").get("_class_name")
    if kind not in classes:
        raise LirecError(f"{folder} holds a {kind}: give the folder of a network that is one of {', '.join(classes)}.")
    return load_model(classes[kind], folder)


def save_model(model: ModelMixin, folder: str | os.PathLike, full_precision: Sequence[str] | None = None) -> Path:
    """Write a network to `folder` as it is published: float16, safetensors, files below 15 MB.

    Args:
        model: stays as it is.
        folder: made where needed; a network stored there before is replaced.
        full_precision: names (or their beginnings) of weights and buffers that stay as they are, where three
            decimal digits are too few (texture coordinates); those in `model.full_precision`, if any, when None.

    Raises:
        LirecError: a weight is not a number or too large for float16.
    """
    folder = Path(folder)
    if full_precision is None:
        full_precision = vars(type(model)).get("full_precision", ())
    model = copy.deepcopy(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not name.startswith(tuple(full_precision)):
            tensor.data = tensor.data.half()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LirecError(f"{name} cannot be saved: it is not a number, or too large for float16.")
    for old in folder.glob(WEIGHTS.replace(".safetensors", "*")):
        old.unlink()
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=MAX_SHARD_SIZE)
    config = folder / model.config_name
    content = read_json(config, f"{folder} holds no network")
    content.pop("_name_or_path", None)  # where it was loaded from: a path of this machine
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def read_json(path: Path, wrong: str) -> dict:
    """Read a JSON object; `wrong` begins the sentence of the `LirecError` raised when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LirecError(f"{wrong}: there is no {path.name} in it.") from error
    except (OSError, ValueError) as error:
        raise LirecError(f"{wrong}: its {path.name} cannot be read; fetch it again.") from error
    if not isinstance(content, dict):
        raise LirecError(f"{wrong}: its {path.name} is not what lirec writes; fetch it again.")
    return content


def _stored_names(folder: Path) -> set[str]:
    """Names of the weights that lie in `folder`, read from the files themselves."""
    if (folder / WEIGHTS_INDEX).is_file():
        index = read_json(folder / WEIGHTS_INDEX, f"The weights in {folder} cannot be found")
        files = sorted(set(index.get("weight_map", {}).values()))
    else:
        files = [WEIGHTS]
    names: set[str] = set()
    for file in files:
        path = folder / file
        if not path.is_file():
            raise LirecError(f"There are no weights in {folder}: {file} is missing; fetch the folder again.")
        try:
            with safe_open(path, framework="pt") as content:
                names.update(content.keys())
        except (SafetensorError, OSError) as error:
            pointer = path.stat().st_size < 1000 and path.read_bytes().startswith(b"version https://git-lfs")
            cure = "run `git lfs pull`" if pointer else "fetch the file again"
            raise LirecError(f"The weight file {path} is damaged or incomplete: {cure}.") from error
    return names


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """What diffusers would only log is checked and raised here."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)
