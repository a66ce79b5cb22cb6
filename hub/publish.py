"""Publish a folder of trained weights on the Hugging Face Hub:

    python -m hub.publish hub/rec-aug-net --evaluation outputs/*.json
    python -m hub.publish hub/rec-aug-net --example photo.jpg --repo me/rec-aug-net

The first writes the model card and checks the folder; the second checks it with a photo too, and pushes it, in one
commit. Log in before with `hf auth login`, or set HF_TOKEN.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, get_token
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from safetensors import safe_open

import lirec
from lirec.errors import LirecError
from lirec.models.weights import read_json
from lirec.pipelines.base import LirecPipeline

HERE = Path(__file__).parent
PUBLISHED = (
    "README.md",
    "model_index.json",
    "*/config.json",
    "*/*.safetensors",
    "*/*.safetensors.index.json",
)
EVALUATION = "evaluation"
# What a pipeline is asked to do with an example picture, to see whether two copies do the same.
EXAMPLES = {
    "RecAugNetPipeline": lambda pipeline, photo: pipeline(photo),
    "DCNetPipeline": lambda pipeline, photo: pipeline.edit(photo, jawOpen=0.6, yaw=10),
    "LINetPipeline": lambda pipeline, photo: pipeline(photo, photo),
}


def publish(
    folder: str | Path,
    pipeline_class: type[LirecPipeline],
    text: Mapping[str, Any],
    *,
    evaluations: Sequence[str | Path] = (),
    run: Callable[[LirecPipeline], Any] | None = None,
    repository: str | None = None,
    private: bool = False,
    message: str = "Update the weights",
) -> str | None:
    """Write the model card, check that the folder is whole, and push it.

    Args:
        folder: what `pipeline.save_pretrained` or training wrote.
        pipeline_class: the pipeline that it holds.
        text: the words of the model card, see cards.toml.
        evaluations: JSON files of figures to keep in the folder and show in the card, see `evaluation_table`.
        run: what to do with the pipeline to see whether two copies of it do the same.
        repository: id on the Hub; without it nothing is pushed.
        private: whether a new repository is private.
        message: of the commit.

    Returns:
        The commit's id, or None if nothing was pushed.

    Raises:
        LirecError: the folder is not whole, the Hub cannot be written to, or what was saved or pushed does
            not give the same results as the folder.
    """
    folder = Path(folder)
    if repository and not get_token():
        raise LirecError("There is no login to push with: run `hf auth login`, or set HF_TOKEN.")
    pipeline = pipeline_class.from_pretrained(folder)
    borrowed = pipeline.borrowed()
    expected = _results(pipeline, run)

    for source in map(Path, evaluations):
        read_json(source, f"{source} holds no figures")
        (folder / EVALUATION).mkdir(exist_ok=True)
        if source.parent.resolve() != (folder / EVALUATION).resolve():
            shutil.copy(source, folder / EVALUATION / source.name)
    (folder / "README.md").write_text(model_card(folder, text, repository), encoding="utf-8")

    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / "staged"
        for pattern in (*PUBLISHED, f"{EVALUATION}/*.json"):
            for path in folder.glob(pattern):
                target = staged / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        again = pipeline_class.from_pretrained(staged, **borrowed)
        _compare(_results(again, run), expected, f"what would be published of {folder}")
        # What a user saves from the loaded pipeline must be as good as the published folder.
        again.save_pretrained(Path(temporary) / "saved")
        saved = pipeline_class.from_pretrained(Path(temporary) / "saved", **borrowed)
        _compare(_results(saved, run), expected, f"{folder}, saved and loaded again,")
        if not repository:
            return None
        commit = _push(staged, repository, private, message)
        fetched = pipeline_class.from_pretrained(
            repository, revision=commit, cache_dir=Path(temporary) / "cache", **borrowed
        )
        _compare(_results(fetched, run), expected, f"{repository} at {commit}")
    return commit


def model_card(folder: Path, text: Mapping[str, Any], repository: str | None = None) -> str:
    """Return the model card (Markdown with the Hub's front matter) of a folder and its evaluation files."""
    tables = [
        evaluation_table(read_json(path, f"{path} holds no figures"), path.stem)
        for path in sorted((folder / EVALUATION).glob("*.json"))
    ]
    environment = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined)
    template = environment.get_template("model_card.md.j2")
    return (
        template.render(
            text=text, repository=repository or folder.as_posix(), parts=_parts(folder), tables=tables
        )
        + "\n"
    )


def evaluation_table(evaluation: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Turn the content of an evaluation file into a table's title, command, columns and rows of text.

    `rows`, a list of objects, are the rows of the table, with their keys as columns. Without `rows` every
    number or text, however deeply it lies, is a row of its own. `title` and `command` are shown above the
    table.
    """
    rows = evaluation.get("rows")
    if rows is None:
        values = {key: value for key, value in evaluation.items() if key not in ("title", "command")}
        rows = [{"figure": key, "value": value} for key, value in _flatten(values)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return {
        "title": evaluation.get("title", name.replace("_", " ")),
        "command": evaluation.get("command"),
        "columns": columns,
        "rows": [[_text(row.get(column)) for column in columns] for row in rows],
    }


def difference(a: Any, b: Any, name: str = "the output") -> str | None:
    """Say where two results differ by more than rounding, or return None.

    Looks into tensors, arrays, pictures, numbers, texts, mappings, sequences and plain objects.
    """
    if isinstance(a, torch.Tensor):
        a, b = a.detach().cpu().numpy(), b.detach().cpu().numpy() if isinstance(b, torch.Tensor) else b
    if isinstance(a, Image.Image):
        a, b = np.asarray(a), np.asarray(b)
    if isinstance(a, np.generic):
        a, b = a.item(), b.item() if isinstance(b, np.generic) else b
    if isinstance(a, torch.nn.Module):
        a, b = dict(a.state_dict()), dict(b.state_dict()) if isinstance(b, torch.nn.Module) else b
    if type(a) is not type(b):
        return f"{name} is a {type(b).__name__}, not a {type(a).__name__}"
    if isinstance(a, np.ndarray):
        same = a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        return None if same else f"{name} has other values"
    if isinstance(a, float):
        return None if np.isclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) else f"{name} is {b}, not {a}"
    if isinstance(a, (str, bytes, int, bool, type(None))):
        return None if a == b else f"{name} is {b!r}, not {a!r}"
    if dataclasses.is_dataclass(a):
        fields = [field.name for field in dataclasses.fields(a)]
        a, b = ({field: getattr(x, field) for field in fields} for x in (a, b))
    elif isinstance(a, Sequence):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    elif not isinstance(a, Mapping):
        a, b = dict(vars(a)), dict(vars(b))
    if list(a) != list(b):
        return f"{name} has other parts"
    return next((found for key in a if (found := difference(a[key], b[key], f"{name}.{key}"))), None)


def _results(pipeline: LirecPipeline, run: Callable[[LirecPipeline], Any] | None) -> dict[str, Any]:
    weights = {
        name: component.state_dict()
        for name, component in pipeline.components.items()
        if isinstance(component, torch.nn.Module)
    }
    with torch.no_grad():
        return {"weights": weights, "output": run(pipeline) if run else None}


def _compare(found: Any, expected: Any, what: str) -> None:
    where = difference(expected, found, "its result")
    if where:
        raise LirecError(f"Not published: {what} does not give what the folder gives: {where}.")


def _push(folder: Path, repository: str, private: bool, message: str) -> str:
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        # Weights of an earlier version that are gone from the folder go from the repository in the same
        # commit.
        return api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, delete_patterns="*"
        ).oid
    except Exception as error:
        raise LirecError(
            f"{repository} could not be written to: check its name, the login, and the network ({error})."
        ) from error


def _parts(folder: Path) -> list[dict[str, str]]:
    """Name, class, number of parameters and size of each network in the folder."""
    parts = []
    for name, value in read_json(folder / "model_index.json", f"{folder} holds no pipeline").items():
        if name.startswith("_") or not isinstance(value, list) or value[1] is None:
            continue
        numbers = size = 0
        for path in (folder / name).glob("*.safetensors"):
            size += path.stat().st_size
            with safe_open(path, framework="pt") as weights:
                numbers += sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118
        parts.append(
            {
                "name": name,
                "class_name": value[1],
                "parameters": f"{numbers / 1e6:.2f} M",
                "size": f"{size / 1e6:.1f} MB",
            }
        )
    return parts


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    result = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            result += _flatten(value, f"{prefix}{key}, ")
        elif isinstance(value, (int, float, str)):
            result.append((f"{prefix}{key}".replace("_", " "), value))
    return result


def _text(value: Any) -> str:
    if value is None:
        return ""
    # A bar would end the cell.
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a model card, check the weights, push both to the Hub."
    )
    parser.add_argument("folder", type=Path, help="for example hub/rec-aug-net")
    parser.add_argument("--evaluation", type=Path, nargs="*", default=[], help="JSON files of train.evaluate")
    parser.add_argument("--example", type=Path, help="picture on which all copies must give the same")
    parser.add_argument("--repo", help="repository on the Hub to push to; without it nothing is pushed")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default="Update the weights", help="of the commit")
    options = parser.parse_args(arguments)
    index = read_json(options.folder / "model_index.json", f"{options.folder} holds no pipeline")
    texts = tomllib.loads((HERE / "cards.toml").read_text(encoding="utf-8"))
    name = index.get("_class_name")
    if name not in texts or not hasattr(lirec, name):
        raise LirecError(f"{options.folder} holds a {name}: only {', '.join(texts)} can be published.")
    if options.example and not options.example.is_file():
        raise LirecError(f"There is no picture {options.example}.")
    commit = publish(
        options.folder,
        getattr(lirec, name),
        texts[name],
        evaluations=options.evaluation,
        run=(lambda pipeline: EXAMPLES[name](pipeline, str(options.example))) if options.example else None,
        repository=options.repo,
        private=options.private,
        message=options.message,
    )
    print(f"{options.folder} is whole, its card is written" + (f", pushed as {commit}." if commit else "."))


if __name__ == "__main__":
    try:
        main()
    except LirecError as error:
        sys.exit(f"error: {error}")
