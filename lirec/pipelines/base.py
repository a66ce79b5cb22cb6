"""What all pipelines share: how they are loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args, get_type_hints

import torch
from diffusers import DiffusionPipeline, ModelMixin

from lirec.errors import LirecError
from lirec.models.layers import StaysFloat32
from lirec.models.weights import find_folder, load_model, read_json, save_model


class LirecPipeline(DiffusionPipeline):
    """A `DiffusionPipeline` of networks that live in this package.

    A subclass' `__init__` takes its networks as arguments annotated with their classes (`rec_net: RecNet`, or
    `et_net: ETNet | None = None` for one that may be left out) and only registers them. Those that may be left out
    are also named in `_optional_components`: to diffusers an argument with a default is no part of the pipeline
    otherwise, and neither moved nor saved with it.
    """

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        cache_dir: str | os.PathLike | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **components,
    ):
        """Load a pipeline from a folder or from the Hub.

        Args:
            pretrained_model_name_or_path: a folder, or a repository's id on the Hub ("user/name").
            revision: a branch, tag or commit on the Hub.
            dtype: of the loaded weights, whatever they are stored in; that of the morphable model stays float32.
            cache_dir: where fetched files are kept. Without a network, what is there is used.
            token: for repositories that are not public; by default that of `hf auth login` or `HF_TOKEN`.
            local_files_only: do not ask the Hub, use the cache.
            components: arguments of the pipeline's `__init__` to use instead of those that are stored.

        Returns:
            The pipeline, on the CPU; `.to("cuda")` moves it.

        Raises:
            LirecError: the folder or repository is not there, is not a `cls`, is damaged or is not complete.
        """
        # DiffusionPipeline's own goes on when weights are missing, and from the Hub it finds only classes of
        # diffusers and transformers. Here annotations give the classes: a repository names no code to run.
        folder = find_folder(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
        index = read_json(folder / cls.config_name, f"{folder} holds no {cls.__name__}")
        if index.get("_class_name") != cls.__name__:
            raise LirecError(f"{folder} holds a {index.get('_class_name')}, not a {cls.__name__}.")
        hints = get_type_hints(cls.__init__)
        for name, value in index.items():
            if name.startswith("_") or name in components:
                continue
            if not isinstance(value, list):  # a setting
                components[name] = value
            elif value[1] is not None:
                model_class = _annotated_class(hints.get(name), value[1])
                if model_class is None:
                    raise LirecError(
                        f"{folder} was written by another version of lirec: {cls.__name__} knows no {name} "
                        f"that is a {value[1]}."
                    )
                exact = issubclass(model_class, StaysFloat32)
                components[name] = load_model(model_class, folder, name, dtype=torch.float32 if exact else dtype)
        try:
            pipeline = cls(**components)
        except TypeError as error:
            raise LirecError(f"{cls.__name__} cannot be made from {folder}: {error}.") from error
        pipeline.register_to_config(_name_or_path=os.fspath(pretrained_model_name_or_path))
        return pipeline

    def borrowed(self) -> dict:
        """Parts that are not stored with this pipeline, as `from_pretrained` takes them."""
        return {}

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write the pipeline to a folder as it is published: each network by `save_model`, and model_index.json.

        Raises:
            LirecError: a weight is not a number or too large for float16.
        """
        for name, component in self.components.items():
            if isinstance(component, torch.nn.Module):
                save_model(component, Path(save_directory) / name)
        self.save_config(save_directory)


def _annotated_class(annotation, class_name: str) -> type[ModelMixin] | None:
    """The network called `class_name` among those that an annotation allows."""
    return next((found for found in _networks(annotation) if found.__name__ == class_name), None)


def _networks(annotation) -> list[type[ModelMixin]]:
    """The classes of networks in an annotation."""
    candidates = (annotation, *get_args(annotation))
    return [found for found in candidates if isinstance(found, type) and issubclass(found, ModelMixin)]
