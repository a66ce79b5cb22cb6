"""What every training script shares, so that each network's own loop stays one readable file:

    parser = common.parser("Train RecNet.", "rec_net")           # presets: train/configs/rec_net/
    options = common.parse(parser, arguments)
    run = common.Run(options)
    model = RecNet(**options.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    model, optimizer = run.prepare(model, optimizer)
    run.average(model, "rec_net")                                # exported to OUTPUT/rec_net
    for batch in run.steps(loader, validate):                    # until the budget is spent
        with run.autocast():
            output = model(batch.image)
        loss = ...                                               # in float32
        run.optimize(loss, optimizer)
        run.log(loss=loss)

`python -m train.rec_net` trains on the one GPU or the CPU, `accelerate launch -m train.rec_net` on many.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, send_to_device, set_seed
from huggingface_hub import HfApi, get_token
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from lirec.errors import LirecError
from lirec.models.weights import load_model, save_model

CONFIGS = Path(__file__).parent / "configs"
PRINT_SECONDS = 15


def parser(description: str, network: str) -> argparse.ArgumentParser:
    """Return an argument parser with the options that all training scripts have.

    Args:
        description: the first line of `--help`.
        network: names the folder of presets in train/configs and the default output folder.
    """
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    result.set_defaults(network=network, model={})
    add = result.add_argument
    add("--preset", help=f"one of {', '.join(presets(network)) or 'none yet'}, or a .toml file of options")
    add("--output", type=Path, default=Path("outputs") / network, help="for checkpoints, logs and weights")
    add("--resume", action="store_true", help="go on from the checkpoint in --output")
    add("--steps", type=int, help="stop after so many optimizer steps")
    add("--minutes", type=float, help="stop after so much time, that of resumed runs included")
    add("--batch-size", type=int, default=32, help="samples a step and process")
    add("--learning-rate", type=float, default=1e-3, help="highest; falls to 0 along a cosine")
    add("--warmup-steps", type=int, default=100, help="steps in which the learning rate rises")
    add("--drop-every", type=float, metavar="SHARE", help="no cosine: a tenth after each such share of the training")
    add("--weight-decay", type=float, default=0.01)
    add("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add("--ema", type=float, default=0.999, help="decay of the averaged weights, which are what is exported")
    add("--seed", type=int, default=0)
    add("--mixed-precision", choices=("no", "bf16"), default="no")
    add("--channels-last", action="store_true", help="memory format of the networks")
    add("--cpu", action="store_true", help="train on the CPU even where there is a GPU")
    add("--validation-every", type=int, default=1000, metavar="STEPS")
    add("--checkpoint-every", type=int, default=1000, metavar="STEPS")
    add("--push_to_hub", action="store_true", help="upload the exported weights after each validation")
    add("--hub_model_id", help="repository on the Hub (me/rec-net-training); made private if missing")
    add("--hub_branch", default="training", help="branch of that repository")
    return result


def presets(network: str) -> list[str]:
    """Names of the presets of a network."""
    return sorted(path.stem for path in (CONFIGS / network).glob("*.toml"))


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse a command line. A preset sets defaults; its `[model]` table becomes `options.model`.

    Raises:
        LirecError: the preset is missing or wrong, no budget is given, a number is not above 0, or there is no login
            to push with.
    """
    preset = parser.parse_known_args(arguments)[0].preset
    if preset:
        parser.set_defaults(**_read_preset(parser, preset))
    options = parser.parse_args(arguments)
    if options.steps is None and options.minutes is None:
        raise LirecError("Say how long to train: --steps, --minutes or a --preset that has one of them.")
    for name in ("steps", "minutes", "batch_size", "validation_every", "checkpoint_every"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise LirecError(f"--{name.replace('_', '-')} must be more than 0.")
    if options.push_to_hub and not options.hub_model_id:
        raise LirecError("--push_to_hub needs --hub_model_id, the repository to push to.")
    if options.push_to_hub and not get_token():
        raise LirecError("--push_to_hub needs a login: run `hf auth login`, or set HF_TOKEN.")
    return options


def _read_preset(parser: argparse.ArgumentParser, preset: str) -> dict[str, Any]:
    network = parser.get_default("network")
    path = Path(preset) if preset.endswith(".toml") else CONFIGS / network / f"{preset}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        names = ", ".join(presets(network)) or "none"
        raise LirecError(f"There is no preset {preset}: {network} has {names}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LirecError(f"The preset {path} cannot be read: give a text file of options.") from error
    except tomllib.TOMLDecodeError as error:
        raise LirecError(f"The preset {path} is not valid TOML: {error}.") from error
    values = {name.replace("-", "_"): value for name, value in values.items()}
    actions = {action.dest: action for action in parser._actions}
    for name, value in values.items():
        if name == "model":
            continue
        if name not in actions:
            raise LirecError(f"The preset {path} sets {name}, which is no option of this script.")
        action, items = actions[name], value if isinstance(value, list) else [value]
        try:
            items = [action.type(item) if action.type else item for item in items]
            allowed = action.choices is None or all(item in action.choices for item in items)
        except (TypeError, ValueError):
            allowed = False
        values[name] = items if isinstance(value, list) else items[0]
        if not allowed:
            raise LirecError(f"The preset {path} sets {name} to {value!r}, which is no value for it.")
    return values


def build(network: type[nn.Module], settings: dict[str, Any]) -> nn.Module:
    """A network with random weights, of the settings in a preset's `[model]` table.

    Raises:
        LirecError: it has no such setting, or they do not go together.
    """
    try:
        return network(**settings)
    except (TypeError, ValueError) as error:
        raise LirecError(f"These [model] settings give no {network.__name__}: {str(error).rstrip('.')}.") from error


def start(network: type[nn.Module], options: argparse.Namespace, settings: dict[str, Any] | None = None) -> nn.Module:
    """
    The network to train: with the weights of `--start`, else `build` of the settings, the preset's if not given.

    Weights that are trained on keep the statistics of their batch normalisation, as `load_model` gives them.
    """
    if options.start:
        return load_model(network, options.start)
    return build(network, options.model if settings is None else settings)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within, these networks only pass gradients on."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


def command(main: Callable[[], None]) -> None:
    """Run a script's `main`; bad input ends it with its sentence and status 1."""
    try:
        main()
    except LirecError as error:
        sys.exit(f"error: {error}")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def learning_rate_factor(step: int, progress: float, warmup_steps: int, drop_every: float | None = None) -> float:
    """Linear rise over `warmup_steps`, then a cosine that reaches 0 when `progress` reaches 1; or, with `drop_every`,
    a tenth whenever `progress` has grown by it."""
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    if drop_every:
        return rise * 0.1 ** int(progress / drop_every + 1e-9)
    return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def find_checkpoint(output: Path) -> Path | None:
    """The last whole checkpoint of the training in a folder."""
    folders = (output / "checkpoint", output / "checkpoint.previous")
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def budget_spent(options: argparse.Namespace, step: int, seconds: float) -> float:
    """Share, up to 1, of the steps or of the minutes, whichever is greater."""
    by_steps = step / options.steps if options.steps is not None else 0.0
    by_time = seconds / (60 * options.minutes) if options.minutes is not None else 0.0
    return min(1.0, max(by_steps, by_time))


def saved_progress(options: argparse.Namespace) -> float | None:
    """How much of the budget the training in `--output` had spent at its last checkpoint; None when it has none."""
    folder = find_checkpoint(options.output)
    if folder is None:
        return None
    state = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return budget_spent(options, state["step"], state["seconds"])


class Run:
    """One training, from its first step to its last, over any number of interruptions.

    Args:
        options: what `parse` returned.

    Attributes:
        step: optimizer steps done.
        progress: how much of the budget is spent, 0 to 1.
        device: where the networks and batches are.
        is_main: whether this is the process that writes files. Also true when there is only one.
        data_seed: differs between processes and after each resumption, so that endless data does not repeat.

    Raises:
        LirecError: `--output` already holds a training and `--resume` is not given, or the other way round.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        # Networks see a batch twice before a gradient; buffers that all processes share would change in between.
        handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
        self.accelerator = Accelerator(cpu=options.cpu, kwargs_handlers=handlers)
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        self.step = 0
        self.output = Path(options.output)
        self._seconds_before = 0.0
        self._start = time.monotonic()
        self._averages: dict[str, tuple[nn.Module, AveragedModel, tuple[str, ...]]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._optimizers: list[torch.optim.Optimizer] = []
        self._validated_at = -1
        self._bad_steps: dict[str, int] = {}
        self._signal: int | None = None
        self._checkpoint = self._find_checkpoint()
        set_seed(options.seed, device_specific=True)
        if self._checkpoint:
            state = json.loads((self._checkpoint / "run.json").read_text())
            self.step, self._seconds_before = state["step"], state["seconds"]
        process = self.accelerator.process_index
        self.data_seed = int(np.random.SeedSequence([options.seed, self.step, process]).generate_state(1)[0])
        if self.is_main:
            self.output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(vars(options), indent=2, default=str)
            (self.output / "options.json").write_text(text + "\n", encoding="utf-8")
            # What an interrupted run logged after its last checkpoint will be logged again.
            self.writer = SummaryWriter(self.output / "logs", purge_step=self.step or None)
            if options.push_to_hub:
                self._open_branch()

    # ------------------------------------------------------------------ before the loop

    def prepare(self, *objects):
        """Put networks, optimizers and (finite) data loaders where they are to work; return them in order.

        Give all of them in one call. Endless or already divided data needs no preparing; it should use
        `data_seed`.
        """
        for item in objects:
            if isinstance(item, nn.Module) and self.options.channels_last:
                item.to(memory_format=torch.channels_last)
            if isinstance(item, torch.optim.Optimizer):
                for group in item.param_groups:
                    group["initial_lr"] = group["lr"]
        prepared = self.accelerator.prepare(*objects)
        prepared = prepared if isinstance(prepared, tuple) else (prepared,)
        self._optimizers = [item for item in prepared if isinstance(item, torch.optim.Optimizer)]
        if self.accelerator.num_processes > 1:  # all begin with the buffers of the first, as with its weights
            for buffer in (b for item in prepared if isinstance(item, nn.Module) for b in item.buffers()):
                buffer.copy_(broadcast(buffer.contiguous()))
        return prepared if len(prepared) > 1 else prepared[0]

    def average(self, model: nn.Module, name: str, full_precision: tuple[str, ...] | None = None) -> nn.Module:
        """Keep an exponential moving average of a prepared network; it is what is validated and exported.

        Args:
            model: a network that `prepare` returned.
            name: of the folder in `--output` to which it is exported.
            full_precision: as in `lirec.models.weights.save_model`.

        Returns:
            The averaged network, in evaluation mode. It is changed in place by the training.
        """

        @torch.no_grad()
        def blend(averages: list[Tensor], values: list[Tensor], _: Tensor) -> None:
            if averages[0].is_floating_point():
                # In its first steps the average forgets sooner, so that the random start is soon gone.
                decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
                torch._foreach_lerp_(averages, values, 1.0 - decay)
            else:  # triangles, counters: blended and rounded they would drift
                torch._foreach_copy_(averages, values)

        model = self.accelerator.unwrap_model(model)
        average = AveragedModel(model, multi_avg_fn=blend, use_buffers=True)
        average.module.eval().requires_grad_(False)
        self.accelerator.register_for_checkpointing(average)
        self._averages[name] = (model, average, full_precision)
        return average.module

    # ------------------------------------------------------------------ the loop

    def steps(self, loader: Iterable, validate: Callable[[], None] | None = None) -> Iterator:
        """Yield batches, on `device`, until the budget is spent; between them average, log, validate, save.

        Args:
            loader: batches; begun again when it ends.
            validate: called in the main process, without gradients, each `--validation-every` steps and at
                the end, before the averaged networks are exported. It may use `log` and `log_images`.
        """
        options = self.options
        self._load_checkpoint()
        handlers = {}
        if self.accelerator.num_processes == 1:
            # Ctrl-C, and what schedulers send before they end a job: finish the step, save, leave.
            handlers = {s: signal.signal(s, self._remember_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        self._start = printed = time.monotonic()
        printed_step = self.step
        batches = iter(loader)
        try:
            while self._agree_on_progress() < 1.0:
                try:
                    batch = next(batches)
                except StopIteration:
                    batches = iter(loader)
                    batch = next(batches, None)
                    if batch is None:
                        raise LirecError("There is no data to train on: the loader is empty.") from None
                self._set_learning_rates()
                yield send_to_device(batch, self.device, non_blocking=True)

                self.step += 1
                for model, average, _ in self._averages.values():
                    average.update_parameters(model)
                if time.monotonic() - printed > PRINT_SECONDS:
                    self.log(steps_per_second=(self.step - printed_step) / (time.monotonic() - printed))
                    self._write_log()
                    printed, printed_step = time.monotonic(), self.step
                if self.step % options.validation_every == 0:
                    self._validate(validate)
                if self.step % options.checkpoint_every == 0:
                    self._save_checkpoint()
                if self._signal:
                    self._save_checkpoint()
                    sys.exit(f"Stopped at step {self.step}: go on with --resume.")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._validate(validate)
        self._save_checkpoint()
        if self.is_main:
            self.writer.close()

    def autocast(self):
        """Context for the forward pass, by `--mixed-precision`; losses belong outside, on `.float()`."""
        enabled = self.options.mixed_precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def optimize(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One step of `optimizer` along the (clipped) gradient of `loss`.

        A step whose gradient is not finite is left out; many of one optimizer in a row end the training with a
        `LirecError`.
        """
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, self.options.clip)
        number = self._optimizers.index(optimizer)
        name = f"gradient_norm_{number + 1}" if number else "gradient_norm"
        if torch.isfinite(norm):
            self._bad_steps[name] = 0
            optimizer.step()
        else:
            self._bad_steps[name] = self._bad_steps.get(name, 0) + 1
            if self._bad_steps[name] >= 20:
                raise LirecError("The loss is no longer a number: lower --learning-rate and --resume.")
        self.log(**{name: norm})

    # ------------------------------------------------------------------ what is written

    def log(self, **values: Tensor | float) -> None:
        """Add scalars to the means that are printed and written to TensorBoard. Dots in names make groups."""
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=torch.float32).detach()
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def log_images(self, name: str, images: Tensor, columns: int = 8) -> None:
        """Show a batch (B, 3, H, W) in [0, 1] as one grid, in TensorBoard and as OUTPUT/pictures/NAME.png."""
        if not self.is_main:
            return
        grid = image_grid(images.detach().float().cpu(), columns)
        self.writer.add_image(name, grid, self.step)
        path = self.output / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((grid.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(path)

    def _write_log(self) -> None:
        if self.is_main and self._sums:
            means = {name: (total / self._counts[name]).item() for name, total in self._sums.items()}
            for name, mean in means.items():
                self.writer.add_scalar(name.replace(".", "/"), mean, self.step)
            text = "  ".join(f"{name} {mean:.4g}" for name, mean in means.items())
            print(f"step {self.step}  {100 * self.progress:.1f} %  {text}", flush=True)
        self._sums, self._counts = {}, {}

    def _validate(self, validate: Callable[[], None] | None) -> None:
        if self._validated_at == self.step:
            return
        self._validated_at = self.step
        self._write_log()
        if self.is_main:
            if validate is not None:
                with torch.no_grad():
                    validate()
                self._write_log()
            for name, (_, average, full_precision) in self._averages.items():
                folder = save_model(average.module, self.output / name, full_precision)
                load_model(type(average.module), folder)  # what is stored is whole, or this says what is not
            if self.options.push_to_hub:
                self._push()
        self.accelerator.wait_for_everyone()

    # ------------------------------------------------------------------ budget

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._start

    def _agree_on_progress(self) -> float:
        self.progress = budget_spent(self.options, self.step, self._seconds())
        if self.accelerator.num_processes > 1:  # clocks differ, and all must take the same steps
            self.progress = broadcast(torch.tensor(self.progress, device=self.device)).item()
        return self.progress

    def _set_learning_rates(self) -> None:
        options = self.options
        factor = learning_rate_factor(self.step, self.progress, options.warmup_steps, options.drop_every)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        self.log(learning_rate_factor=factor)

    # ------------------------------------------------------------------ checkpoints

    def _find_checkpoint(self) -> Path | None:
        found = find_checkpoint(self.output)
        if found and not self.options.resume:
            raise LirecError(
                f"{self.output} holds a training already: --resume it, or choose another --output."
            )
        if self.options.resume and not found:
            raise LirecError(f"There is nothing to resume: {self.output} holds no checkpoint.")
        return found

    def _save_checkpoint(self) -> None:
        # One that is being written never stands where a whole one is looked for.
        folder, previous, partial = (self.output / f"checkpoint{end}" for end in ("", ".previous", ".partial"))
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()  # each process writes a part
        if self.is_main:
            state = {"step": self.step, "seconds": self._seconds()}
            (partial / "run.json").write_text(json.dumps(state) + "\n", encoding="utf-8")
            shutil.rmtree(previous, ignore_errors=True)
            if folder.exists():
                folder.rename(previous)
            partial.rename(folder)
            shutil.rmtree(previous, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _load_checkpoint(self) -> None:
        if self._checkpoint:
            groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
            rates = [group["initial_lr"] for group in groups]
            try:
                self.accelerator.load_state(str(self._checkpoint))
            except Exception as error:
                raise LirecError(
                    f"{self._checkpoint} does not fit: resume with the options that the training began with."
                ) from error
            groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
            for group, rate in zip(groups, rates, strict=True):
                group["initial_lr"] = rate  # that of this command line
            self._checkpoint = None

    def _remember_signal(self, number: int, _) -> None:
        self._signal = number

    # ------------------------------------------------------------------ the Hub

    def _open_branch(self) -> None:
        api, repository = HfApi(), self.options.hub_model_id
        try:
            api.create_repo(repository, private=True, exist_ok=True)
            api.create_branch(repository, branch=self.options.hub_branch, exist_ok=True)
        except Exception as error:
            raise LirecError(
                f"Nothing can be pushed to {repository} on the Hub: check name, login and network."
            ) from error

    def _push(self) -> None:
        try:
            HfApi().upload_folder(
                folder_path=self.output,
                allow_patterns=[f"{name}/*" for name in self._averages],
                repo_id=self.options.hub_model_id,
                revision=self.options.hub_branch,
                commit_message=f"Step {self.step}",
            )
        except Exception as error:  # a network that is down for an hour must not end a training of a week
            print(f"step {self.step} was not pushed to the Hub: {error}", file=sys.stderr, flush=True)


def image_grid(images: Tensor, columns: int = 8, gap: int = 2) -> Tensor:
    """Lay pictures (B, 3, H, W) in [0, 1] out as one picture (3, H', W'), row by row."""
    count, _, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = images.new_ones(3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for number, image in enumerate(images.clamp(0, 1)):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    return grid
