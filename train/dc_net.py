"""Train DCNet: `python -m train.dc_net --preset cpu --cache FOLDER`.

Pairs of frames of one person, the first as source, the second as target: rendered clips, or videos
(`--data voxceleb2 --root FOLDER`), whose heads a trained RecNet reconstructs.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from lirec import losses
from lirec.errors import LirecError
from lirec.geometry.view_synthesis import warp
from lirec.models.conditions import ConditionRenderer
from lirec.models.dc_net import LAYERS, DCNet
from lirec.models.discriminators import PatchDiscriminator
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.portrait import head_window
from lirec.pipelines.reconstruction import RecAugNetPipeline
from lirec.processing.image import load_image, to_tensor
from train import common
from train.data import training_set
from train.data.cache import FaceBatch, add_source_options, to_batch, training_faces
from train.data.pairs import FacePairs, head_view, rendered_pairs, true_view, video_pairs
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.layering import layer_losses
from train.perceptual import ExpressionReader, feature_network


def drawing_losses(output, pairs: FacePairs, driven, features, reader) -> dict[str, torch.Tensor]:
    """The terms for a drawn batch, each weighted: JR2Net's equations 3 and 4, what is read in the picture, and those of
    the layers."""
    surface, target = driven.surface, pairs.target
    hidden = surface.mask * (1 - surface.correspondence.visible)
    weight = 1 + surface.mask + 3 * hidden + 2 * (surface.mouth + surface.eyes)
    weight = weight / weight.mean()
    terms = {
        "l1": ((output.image - target).abs() * weight).mean(),
        "gradient": 0.5 * losses.gradient_loss(output.image, target),
        "perceptual": 0.05 * losses.perceptual_loss(features(output.image), features(target)),
        "expression": 0.012 * reader(output.image, target, pairs.target_view),
    }
    if output.weights is not None:
        terms["generated"] = 0.5 * ((output.generated - target).abs() * weight).mean()
        terms |= layer_losses(output, surface)
    return terms


def build_parser():
    parser = common.parser(__doc__.splitlines()[0], "dc_net")
    add = parser.add_argument
    add("--data", default="synthetic", choices=["synthetic", "voxceleb2"], help="pairs to train on")
    add("--root", help="folder of the videos")
    add_source_options(parser, " --clips")
    add("--reconstruction", default="hub/rec-aug-net", help="pipeline of the morphable model and RecNet")
    add("--start", help="weights to start from")
    add("--output_head", choices=["layers", "rgb"], help="in place of the preset's output")
    add("--condition", choices=["full", "rendered", "no_warp", "no_light"], help="in place of the preset's (Table 5)")
    add("--adversarial", type=float, default=0.01, help="weight of the hinge loss (equation 5)")
    add("--adversarial_from", type=float, default=0.5, help="share of the training before it is switched on")
    add("--photos", nargs="*", type=Path, default=[Path("examples")], help="photos or folders, for validation pictures")
    return parser


def main(arguments=None):
    options = common.parse(build_parser(), arguments)
    run = common.Run(options)
    pipeline = RecAugNetPipeline.from_pretrained(options.reconstruction).to(run.device)
    model = pipeline.morphable_model.eval()
    chosen = {"output": options.output_head, "condition": options.condition}
    settings = {**options.model, **{name: value for name, value in chosen.items() if value}}
    network = common.start(DCNet, options, settings)
    config, size = network.config, network.config.image_size
    renderer = ConditionRenderer(model, size)
    discriminator = PatchDiscriminator(width=32 if size <= 128 else 64)
    rate, decay = options.learning_rate, options.weight_decay
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    judging = torch.optim.AdamW(discriminator.parameters(), lr=0.4 * rate, weight_decay=0.0, betas=(0.5, 0.99))
    network, discriminator, optimizer, judging = run.prepare(network, discriminator, optimizer, judging)
    average = run.average(network, "dc_net")
    features, name = feature_network(f"{options.reconstruction}/rec_net")
    features = features.to(run.device, memory_format=torch.channels_last)
    reader = ExpressionReader(pipeline.rec_net, model).to(run.device)
    print(f"The perceptual loss compares activations of {name}.", flush=True)
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    loader = pair_loader(options, run, model, config, pipeline)
    rendered = options.data == "synthetic"
    shown = validation_pairs(options, model, config, pipeline, run.device)

    def draw(net, pairs):
        source = renderer.source(pairs.source, pairs.source_view)
        # In use the light is the source's; now and then it changes between the frames of a pair.
        driven = renderer.driven(source, pairs.target_view, fit_to=pairs.target)
        return net(source, driven), driven

    def validate():
        pictures = []
        for title, pairs in shown.items():
            output, driven = draw(average, pairs)
            if title == "rendered":
                for key, value in drawing_losses(output, pairs, driven, features, reader).items():
                    run.log(**{f"validation.{key}": value})
            rows = [pairs.source, pairs.target, driven_pixels(pairs.source, driven), output.image.clamp(0, 1)]
            rows.append(output.generated.clamp(0, 1))
            if output.weights is not None:
                channels = [LAYERS.index(name) for name in ("completed", "background", "generated")]  # red, green, blue
                rows.append(output.weights[:, channels])
            pictures.append(torch.stack(rows, 1).flatten(0, 1))
        run.log_images("reenactments", torch.cat(pictures), columns=len(rows) * 2)

    for batch in run.steps(loader, validate):
        pairs = rendered_pairs(batch, model, generator, size) if rendered else batch
        with run.autocast():
            output, driven = draw(network, pairs)
        terms = drawing_losses(output, pairs, driven, features_in(run, features), reader)
        judged = options.adversarial > 0 and run.progress >= options.adversarial_from
        if judged:
            with common.frozen(discriminator), run.autocast():
                scores = discriminator(output.image)
            terms["adversarial"] = options.adversarial * losses.hinge_generator_loss(scores.float())
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)
        if judged:
            with run.autocast():
                real, made = discriminator(pairs.target), discriminator(output.image.detach())
            loss = losses.hinge_discriminator_loss(real.float(), made.float())
            run.optimize(loss, judging)
            run.log(discriminator=loss)


def features_in(run, network):
    """The network under autocast."""

    def features(images):
        with run.autocast():
            return network(images.contiguous(memory_format=torch.channels_last))

    return features


def driven_pixels(source: torch.Tensor, driven) -> torch.Tensor:
    """The source's pixels where the driven head sees the same, black where it sees what the source did not."""
    surface = driven.surface
    hidden = surface.mask * (1 - surface.correspondence.visible)
    return warp(source, surface.correspondence.grid) * (1 - hidden)


def pair_loader(options, run, model, config, pipeline):
    if options.data == "voxceleb2":
        if not options.root:
            raise LirecError("--data voxceleb2 needs --root, the folder that holds its videos.")
        dataset = training_set("voxceleb2", options.root)
        where = (config.image_size, config.crop_scale, config.crop_rise)
        return video_pairs(dataset, pipeline, *where, options.batch_size, run.data_seed)
    renderer = partial(SyntheticFaces, model, round(config.image_size * 1.25), run.device, supersampling=1.2)
    return training_faces(options, renderer, 2 * options.batch_size, run.data_seed, people=2, clips=True)


def validation_pairs(options, model, config, pipeline, device, count: int = 16) -> dict[str, FacePairs]:
    """Held-out rendered pairs, and real portraits that are to do what some of those targets do."""
    size = config.image_size
    renderer = SyntheticFaces(model, size, device, supersampling=1.25)
    clips = [to_batch(renderer.sample_clips(4, 2, HELD_OUT_SEED + i, wild=0.0)) for i in range(count // 4)]
    batch = FaceBatch.cat(clips)
    generator = torch.Generator(device).manual_seed(0)
    rendered = rendered_pairs(batch, model, generator, size, varied=False)
    shown = {"rendered": rendered}
    faces = []
    for path in options.photos:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.suffix.lower() in (".jpg", ".jpeg", ".png"):
                faces += pipeline(load_image(file)).faces[:1]
    if faces:
        shown["photos"] = photo_pairs(faces[:8], batch, pipeline.morphable_model, config, device)
    return shown


def photo_pairs(faces, batch: FaceBatch, model: MorphableModel, config, device) -> FacePairs:
    """Photos' faces twice: as they are, and with the expressions and turned by the poses of rendered ones."""
    pictures, crops = [], []
    for face in faces:
        crop = head_window(face.landmarks, config.crop_scale, config.crop_rise)
        crops.append(crop)
        pictures.append(crop.extract(face.image, config.image_size))
    images = to_tensor(np.stack(pictures), device)
    source = head_view(faces, crops, model, device)
    rows = torch.arange(len(faces), device=device) * 2 + 1
    identity = torch.as_tensor(np.stack([face.identity for face in faces]), device=device)
    truth = true_view(batch, model)
    turn = truth.rotation[rows] @ truth.rotation[rows - 1].transpose(1, 2)
    target = head_view(faces, crops, model, device)
    target.vertices = model(identity, batch.expression[rows])
    target.rotation = turn @ source.rotation
    return FacePairs(images, images, source, target)


if __name__ == "__main__":
    common.command(main)
