"""Train LI-Net: `python -m train.li_net --module L|T|R|G|all --preset cpu`.

The modules are trained apart, each in a folder of its own in --output: L, which lifts landmarks to heads, and T on
landmarks of the morphable model, without pictures; R and G on clips of three frames (`train.data.cache --clips
rotation`) with a trained L, and G sees through a trained R.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from lirec import losses
from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix
from lirec.geometry.landmarks import Frame, box_normalised, draw_landmark_lines
from lirec.models.dc_net import DCNet
from lirec.models.discriminators import LandmarkClassifier, LandmarkDiscriminator, PatchDiscriminator, PoseRegressor
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.landmark_lifter import (
    LandmarkConditions,
    LandmarkLifter,
    LandmarkLifterOutput,
    Lifting,
    camera_through,
    seen_landmarks,
)
from lirec.models.layered_output import LayeredOutput
from lirec.models.li_net import (
    ExpressionGenerator,
    FaceRotator,
    LandmarkTransformer,
    LandmarkTransformerOutput,
    LINet,
    transformed,
)
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.pipelines.reconstruction import RecAugNetPipeline
from train import common
from train.data import training_set
from train.data.cache import FaceBatch, add_source_options, to_batch, training_faces
from train.data.clips import rotation_clips
from train.data.landmark_motions import (
    FRESH,
    LandmarkHeads,
    LandmarkMotions,
    LandmarkQuartets,
    batches,
)
from train.data.rotations import FaceTriples, photo_triples, rendered_triples
from train.data.synthetic import HELD_OUT_SEED, ExpressionSampler, SyntheticFaces
from train.layering import layer_losses
from train.perceptual import feature_network

FOLDERS = {"L": "lifter", "T": "transformer", "R": "rotator", "G": "generator"}
"""Where each module trains: presets in train/configs/li_net/, weights and logs in --output."""
NETWORKS = {"L": "landmark_lifter", "R": "face_rotator"}
"""What they are exported as, of those that others need."""
VARIANTS = {
    "full": {},
    "vanilla": {"rotated": False},
    "pix2pix": {"rotated": False, "output": "rgb", "encoder": "concatenated"},
}
"""Settings of G: as it is, alone (the paper's "vanilla"), and as the baseline of Table 1."""
YAWS = ((0, 30), (30, 60), (60, 90))
"""Degrees of the driver's yaw by which figures are split."""


def noisy(points: torch.Tensor, most: float, generator: torch.Generator) -> torch.Tensor:
    """
    Landmarks (B, 68, 2), about as large as 1, each set with errors of another size: up to a standard deviation of
    `most`, and hardly any at times, since those that RecNet finds lie on a head.
    """
    level = most * torch.rand(len(points), 1, 1, generator=generator, device=points.device)
    return points + level * torch.randn(points.shape, generator=generator, device=points.device)


# T: landmarks -----------------------------------------------------------------------------------------------------


def transformer_losses(
    transformer: LandmarkTransformer,
    lifting: Lifting,
    classifier: LandmarkClassifier,
    quartets: LandmarkQuartets,
    generator: torch.Generator,
    noise: float = 0.0,
) -> tuple[dict[str, torch.Tensor], LandmarkTransformerOutput]:
    """
    The terms of equation 1 but the adversarial one, each weighted, and T's output.

    Args:
        noise: as of `noisy`, of what T is given.
    """
    given = partial(noisy, most=noise, generator=generator)
    frame, half = Frame.of(quartets.driving), len(quartets) // 2
    true_driving, wanted = frame.enter(quartets.driving), frame.enter(quartets.wanted)
    source = given(box_normalised(quartets.source))
    # Half of the rows a second time, with their own truth as driver: what is right already stays (equation 2).
    driving = torch.cat((given(true_driving), given(wanted[:half])))
    output = transformed(transformer, lifting, torch.cat((source, source[:half])), driving)
    whole = LandmarkTransformerOutput(**{name: value[: len(source)] for name, value in output.items()})
    made, kept = output.laid_on(driving).split((len(source), half))
    before = given(box_normalised(quartets.before[:half]))
    back = transformed(transformer, lifting, before, made[:half]).laid_on(made[:half])  # equation 3
    with torch.no_grad():
        identity, _ = classifier(wanted)
    terms = {
        "l1": (made - wanted).abs().mean(),
        "reconstruction": 0.3 * (kept - wanted[:half]).abs().mean(),
        "cycle": 0.1 * (back - true_driving[:half]).abs().mean(),
        "identity": 1e-3 * (classifier(made)[0] - identity).abs().mean(),
        "placement": 0.2 * (whole.placement - true_placement(quartets)).abs().mean(),
    }
    plain = getattr(transformer, "module", transformer)  # several processes wrap it
    if plain.config.representation == "images":
        terms["pixels"] = 0.1 * (plain.draw(made) - plain.draw(wanted)).abs().mean()
    return terms, whole


@torch.no_grad()
def fit_statistics(transformer: LandmarkTransformer, lifting: Lifting, quartets: LandmarkQuartets) -> None:
    """What varies in landmarks and in the shifts between people, from a sample."""
    frame = Frame.of(quartets.driving)
    wanted, driving = frame.enter(quartets.wanted), frame.enter(quartets.driving)
    output = transformed(transformer, lifting, quartets.source, quartets.driving)
    begun = output.landmarks - output.shift
    transformer.fit_statistics(torch.cat((wanted, driving)), wanted - begun)


def true_placement(quartets: LandmarkQuartets) -> torch.Tensor:
    """(B, 3): where the source's box goes."""
    return Frame.of(quartets.source).placement(Frame.of(quartets.turned))


def judge_losses(classifier, discriminator, quartets: LandmarkQuartets, made: torch.Tensor) -> dict[str, torch.Tensor]:
    """What Cid and Dr make small: cross entropy of the labels, and equation 4."""
    real, drawn = discriminator(quartets.wanted), discriminator(made)
    terms = {"discriminator": adversarial(real, True) + adversarial(drawn, False)}
    if (quartets.label != FRESH).any():
        terms["classifier"] = F.cross_entropy(classifier(quartets.wanted)[1], quartets.label)
    return terms


def adversarial(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """Cross entropy of being taken for real, or not."""
    return F.softplus(-logits if real else logits).mean()


@torch.no_grad()
def transformer_figures(
    transformer: LandmarkTransformer, lifting: Lifting, quartets: LandmarkQuartets
) -> dict[str, float]:
    """Mean distance of T's landmarks, of the lifter's, and of the driver's own, from the true ones, in sides of the
    driver's box, by yaw."""
    frame, yaw = Frame.of(quartets.driving), quartets.angles[:, 1].abs().rad2deg()
    output = transformed(transformer, lifting, quartets.source, quartets.driving)
    wanted = frame.enter(quartets.wanted)
    compared = {
        "transformed": output.landmarks,
        "lifter": frame.enter(lifting.reshaped(quartets.source, quartets.driving)),
        "driver": frame.enter(quartets.driving),
    }
    figures = {}
    for low, high in ((0, 90), *YAWS):
        rows = (yaw >= low) & (yaw < high)
        for name, points in compared.items():
            figures[f"{name} {low}-{high}"] = float((points - wanted)[rows].norm(dim=2).mean())
    figures["placement"] = float((output.placement - true_placement(quartets))[:, :2].norm(dim=1).mean())
    return figures


def train_transformer(options):
    run = common.Run(options)
    motions = LandmarkMotions(
        load_model(MorphableModel, f"{options.reconstruction}/morphable_model").to(run.device), options.people
    )
    lifting = Lifting(trained_lifter(options, run.device), motions.model)
    if options.start:
        transformer = load_model(LandmarkTransformer, options.start)
    else:
        transformer = common.build(LandmarkTransformer, options.model)
        fit_statistics(transformer, lifting, motions.sample(4096, run.data_seed % HELD_OUT_SEED))
    classifier, discriminator = LandmarkClassifier(options.people), LandmarkDiscriminator()
    optimizer = optimizer_of(transformer, options)
    judging = torch.optim.AdamW([*classifier.parameters(), *discriminator.parameters()], lr=options.learning_rate / 2)
    transformer, classifier, discriminator, optimizer, judging = run.prepare(
        transformer, classifier, discriminator, optimizer, judging
    )
    average = run.average(transformer, "landmark_transformer")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    held_out = motions.sample(2048, HELD_OUT_SEED)

    def validate():
        figures = transformer_figures(average, lifting, held_out)
        run.log(**{f"validation.{name}": value for name, value in figures.items()})
        few = transformed(average, lifting, held_out.source[:8], held_out.driving[:8]).landmarks
        shown = (held_out.source[:8], held_out.driving[:8], few, held_out.wanted[:8])
        rows = [average.draw(box_normalised(points)) for points in shown]
        run.log_images("landmarks", torch.stack(rows, 1).flatten(0, 1), columns=8)

    for quartets in run.steps(batches(motions.sample, options.batch_size, run.data_seed), validate):
        with common.frozen(classifier, discriminator):
            with run.autocast():
                terms, output = transformer_losses(
                    transformer, lifting, classifier, quartets, generator, options.noise
                )
            if options.adversarial > 0:
                terms["adversarial"] = options.adversarial * adversarial(discriminator(output.landmarks), True)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)
        judged = judge_losses(classifier, discriminator, quartets, output.landmarks.detach())
        run.optimize(sum(judged.values()), judging)
        run.log(**judged)


# L: heads of landmarks ------------------------------------------------------------------------------------------------


def lifter_losses(
    told: LandmarkLifterOutput, heads: LandmarkHeads, points: torch.Tensor, model: MorphableModel
) -> dict[str, torch.Tensor]:
    """
    How far heads are from the true ones, each weighted.

    Args:
        told: of landmarks `points` (B, 68, 2), those of the heads with some noise, box-normalised.
        model: one that gives landmarks, as of `MorphableModel.of_landmarks`.
    """

    def turned(identity, expression, angles):
        return model(identity, expression) @ euler_to_matrix(angles).transpose(1, 2)

    found = turned(told.identity, told.expression, told.angles)
    wanted = turned(heads.identity, heads.expression, heads.angles)
    seen = seen_landmarks(model, found, told.angles, told.distance)
    placed = seen @ camera_through(seen, points, told.distance)[:, :2, :2] / told.distance[:, None, None]
    missed = placed - placed.mean(1, keepdim=True) - (points - points.mean(1, keepdim=True))
    return {
        "vertices": 0.02 * 1e6 * (found - wanted).square().sum(-1).mean(),
        "landmarks": 20 * missed.square().sum(-1).add(1e-8).sqrt().mean(),
        "rotation": 2 * losses.rotation_loss(euler_to_matrix(told.angles), euler_to_matrix(heads.angles)),
        "expression": 20 * losses.coefficient_loss(told.expression, heads.expression),
        "identity": 0.1 * losses.coefficient_loss(told.identity, heads.identity),
        "nearness": 0.3 * (1 / told.distance - 1 / heads.distance).abs().mean(),
    }


def train_lifter(options):
    run = common.Run(options)
    motions = LandmarkMotions(load_model(MorphableModel, f"{options.reconstruction}/morphable_model").to(run.device))
    if options.start:
        lifter = load_model(LandmarkLifter, options.start)
    else:
        lifter = common.build(LandmarkLifter, options.model)
        lifter.fit_statistics(motions.sample_heads(4096, run.data_seed % HELD_OUT_SEED).landmarks.cpu())
    optimizer = optimizer_of(lifter, options)
    lifter, optimizer = run.prepare(lifter, optimizer)
    average = run.average(lifter, "landmark_lifter")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    held_out = motions.sample_heads(2048, HELD_OUT_SEED)

    def validate():
        told = average(held_out.landmarks)
        terms = lifter_losses(told, held_out, box_normalised(held_out.landmarks), motions.model)
        run.log(**{f"validation.{name}": value for name, value in terms.items()})
        turn = losses.rotation_loss(euler_to_matrix(told.angles), euler_to_matrix(held_out.angles))
        run.log(**{"validation.degrees": turn.rad2deg()})

    for heads in run.steps(batches(motions.sample_heads, options.batch_size, run.data_seed), validate):
        points = box_normalised(noisy(box_normalised(heads.landmarks), options.noise, generator))
        with run.autocast():
            told = lifter(points)
        terms = lifter_losses(told, heads, points, motions.model)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


# R and G: pictures --------------------------------------------------------------------------------------------------


class TripleData:
    """
    Triples for R and G: out of a cache, or drawn while training; and some that are never trained on.

    Args:
        options: the script's.
        run: the training.
        config: of the network that learns from them.
    """

    def __init__(self, options, run: common.Run, config):
        if options.data != "synthetic" and not options.root:
            raise LirecError(f"--data {options.data} needs --root, the folder that holds its pictures.")
        size = config.image_size
        model = load_model(MorphableModel, f"{options.reconstruction}/morphable_model").to(run.device)
        self.model, self.size = model.of_landmarks(), size
        self.conditions = LandmarkConditions(trained_lifter(options, run.device), model, size)
        self.expressions = ExpressionSampler(model.expression_names)
        self.generator = torch.Generator(run.device).manual_seed(run.data_seed)
        if options.data != "synthetic":
            self.loader = self._photos(options, run, config)
        else:
            renderer = partial(SyntheticFaces, model, round(size * 1.25), run.device, supersampling=1.2)
            self.loader = training_faces(options, renderer, 3 * options.batch_size, run.data_seed, 3, "rotation")
        renderer = SyntheticFaces(model, size, run.device, supersampling=1.25)
        clips = [to_batch(rotation_clips(renderer, 4, HELD_OUT_SEED + i, wild=0.0)) for i in range(options.shown // 4)]
        self.held_out = self.triples(FaceBatch.cat(clips), varied=False)

    def _photos(self, options, run, config) -> Iterator[FaceTriples]:
        dataset = training_set(options.data, options.root)
        reconstruction = RecAugNetPipeline.from_pretrained(options.reconstruction).to(run.device)
        where = (self.size, config.crop_scale, config.crop_rise)
        return photo_triples(dataset, reconstruction, *where, options.batch_size, run.data_seed)

    def triples(self, batch: FaceBatch | FaceTriples, varied: bool = True) -> FaceTriples:
        if isinstance(batch, FaceTriples):
            return batch
        return rendered_triples(batch, self.model, self.expressions, self.generator, self.size, varied)


def picture_losses(output: LayeredOutput, target: torch.Tensor, landmarks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Differences of drawn pictures (B, 3, S, S) from the true ones, weighted."""
    weight = face_weight(landmarks, target.shape[3])
    terms = {
        "l1": ((output.image - target).abs() * weight).mean(),
        "gradient": 0.5 * losses.gradient_loss(output.image, target),
    }
    if output.weights is not None:
        terms["generated"] = 0.5 * ((output.generated - target).abs() * weight).mean()
    return terms


def face_weight(landmarks: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 1, S, S), mean 1: three times as much in the middle of the landmarks' box as far from it."""
    frame = Frame.of(landmarks)
    place = (torch.arange(size, device=landmarks.device) + 0.5) / size
    x, y = ((place - frame.centre[:, 0, axis, None]) / frame.side[:, 0] for axis in range(2))
    weight = 1 + 2 * torch.exp(-2 * (x.square()[:, None] + y.square()[:, :, None]))[:, None]
    return weight / weight.mean((2, 3), keepdim=True)


def least_squares(scores: torch.Tensor, target: float) -> torch.Tensor:
    """LSGAN (equation 6)."""
    return (scores.float() - target).square().mean()


def train_rotator(options):
    """Section 3.2: equations 5 to 7."""
    run = common.Run(options)
    rotator = start(FaceRotator, options)
    if options.drawer:
        rotator.start_from(load_model(DCNet, options.drawer))
    config = rotator.config
    size = config.image_size
    data = TripleData(options, run, config)
    discriminator, poses = PatchDiscriminator(width=32 if size <= 128 else 64), PoseRegressor()
    optimizer, judging = optimizer_of(rotator, options), judge_optimizer(options, discriminator, poses)
    rotator, discriminator, poses, optimizer, judging = run.prepare(rotator, discriminator, poses, optimizer, judging)
    average = run.average(rotator, "face_rotator")

    def rotate(network, triples):
        net = LINet(data.conditions, network)
        source = net.prepare(triples.source, triples.source_landmarks)
        driven = net.turn(source, data.conditions.lift(triples.pose_landmarks, source.head.identity))
        return net.rotate(source, driven, triples.pose_landmarks, triples.shown), driven

    def losses_of(output, driven, triples):
        terms = picture_losses(output, triples.rotated, triples.result_landmarks)
        return terms if output.weights is None else terms | layer_losses(output, driven.surface)

    def validate():
        held = data.held_out
        output, driven = rotate(average, held)
        for name, value in losses_of(output, driven, held).items():
            run.log(**{f"validation.{name}": value})
        drawn = draw_landmark_lines(held.pose_landmarks * size, size)
        show(run, "rotations", [held.source, drawn, held.rotated, output.image, output.generated])

    for batch in run.steps(data.loader, validate):
        triples = data.triples(batch)
        with run.autocast():
            output, driven = rotate(rotator, triples)
        terms = losses_of(output, driven, triples)
        judged = run.progress >= options.adversarial_from
        if judged:
            with common.frozen(discriminator, poses), run.autocast():
                scores, guess = discriminator(output.image), poses(output.image)
            terms["adversarial"] = options.adversarial * least_squares(scores, 0)  # real is 0, as in equation 6
            terms["pose"] = options.pose * (guess.float() - triples.angles).square().mean()
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)
        with run.autocast():
            found = poses(triples.rotated)
            real, made = (discriminator(triples.rotated), discriminator(output.image.detach())) if judged else (0, 0)
        terms = {"pose_regressor": (found.float() - triples.angles).square().mean()}
        if judged:
            terms["discriminator"] = least_squares(real, 0) + least_squares(made, 1)
        run.optimize(sum(terms.values()), judging)
        run.log(**terms)


def train_generator(options):
    """Section 3.3: equations 8 and 9."""
    options.model = {**options.model, **VARIANTS[options.variant]}
    rotator = trained("R", "rotator", options) if options.variant == "full" else None
    run = common.Run(options)
    if rotator is not None:
        rotator = load_model(FaceRotator, rotator).to(run.device).eval().requires_grad_(False)
    generator = start(ExpressionGenerator, options)
    config = generator.config
    size = config.image_size
    data = TripleData(options, run, config)
    discriminator = PatchDiscriminator(width=32 if size <= 128 else 64)
    optimizer, judging = optimizer_of(generator, options), judge_optimizer(options, discriminator)
    generator, discriminator, optimizer, judging = run.prepare(generator, discriminator, optimizer, judging)
    average = run.average(generator, "expression_generator")
    things, name = feature_network(f"{options.reconstruction}/rec_net")
    faces = load_model(FaceEmbedder, f"{options.reconstruction}/face_embedder").requires_grad_(False)
    things, faces = (net.to(run.device, memory_format=torch.channels_last).eval() for net in (things, faces))
    print(f"The perceptual loss compares activations of {name} and FaceEmbedder.", flush=True)

    def reenact(network, triples: FaceTriples):
        net = LINet(data.conditions, rotator, network)
        return net(net.prepare(triples.source, triples.source_landmarks), triples.result_landmarks)

    def losses_of(output, triples):
        terms = picture_losses(output, triples.result, triples.result_landmarks)
        if output.weights is not None:
            terms["smooth"] = 0.1 * losses.total_variation(output.offsets)
            terms["copy"] = 0.01 * output.weights[:, -1].mean()
        return terms

    def perceptual(made, target):
        with run.autocast():
            values = [losses.perceptual_loss(see(made), see(target)) for see in (things, faces.features)]
        return 0.05 * sum(values)

    def validate():
        held = data.held_out
        rotated, output = reenact(average, held)
        for name, value in losses_of(output, held).items():
            run.log(**{f"validation.{name}": value})
        drawn = draw_landmark_lines(held.result_landmarks * size, size)
        rows = [held.source, drawn, held.result, output.image, output.generated]
        show(run, "reenactments", rows if rotated is None else [*rows[:2], rotated, *rows[2:]])

    for batch in run.steps(data.loader, validate):
        triples = data.triples(batch)
        with run.autocast():
            _, output = reenact(generator, triples)
        terms = losses_of(output, triples)
        terms["perceptual"] = perceptual(output.image, triples.result)
        judged = run.progress >= options.adversarial_from
        if judged:
            with common.frozen(discriminator), run.autocast():
                scores = discriminator(output.image)
            terms["adversarial"] = options.adversarial * adversarial(scores.float(), True)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)
        if judged:
            with run.autocast():
                real, made = discriminator(triples.result), discriminator(output.image.detach())
            loss = adversarial(real.float(), True) + adversarial(made.float(), False)
            run.optimize(loss, judging)
            run.log(discriminator=loss)


def trained(module: str, name: str, options) -> Path:
    """Where the weights of a module are that another needs: as the option `name` says, or where it was trained.

    Raises:
        LirecError: they are not there.
    """
    place = Path(getattr(options, name) or options.output.parent / FOLDERS[module] / NETWORKS[module])
    if not place.is_dir():
        raise LirecError(f"A trained {module} is needed: give it by --{name}, or train it with --module {module}.")
    return place


def trained_lifter(options, device) -> LandmarkLifter:
    """The trained L, which the other modules look through."""
    return load_model(LandmarkLifter, trained("L", "lifter", options)).to(device).eval().requires_grad_(False)


def start(network_class, options):
    """The network to train: with the preset's settings, or with the weights of --start."""
    chosen = {"output": options.output_head} if options.output_head else {}
    return common.start(network_class, options, {**options.model, **chosen})


def optimizer_of(network, options):
    return torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)


def judge_optimizer(options, *judges):
    parameters = [parameter for judge in judges for parameter in judge.parameters()]
    return torch.optim.AdamW(parameters, lr=0.4 * options.learning_rate, weight_decay=0.0, betas=(0.5, 0.99))


def show(run, name: str, rows: list[torch.Tensor]) -> None:
    """Log pictures (B, 3, S, S) side by side."""
    run.log_images(name, torch.stack([row.clamp(0, 1) for row in rows], 1).flatten(0, 1), columns=2 * len(rows))


# the script ---------------------------------------------------------------------------------------------------------


def build_parser(module: str) -> argparse.ArgumentParser:
    parser = common.parser(__doc__.splitlines()[0], f"li_net/{FOLDERS[module]}")
    parser.set_defaults(output=Path("outputs/li_net"))
    add = parser.add_argument
    add("--module", choices=[*FOLDERS, "all"], default="all", help="which of the four to train")
    add("--reconstruction", default="hub/rec-aug-net", help="pipeline of the morphable model")
    add("--start", help="weights to start from")
    add("--adversarial", type=float, default=0.0005 if module == "T" else 0.01, help="weight of the adversarial loss")
    add("--output_head", choices=["layers", "rgb"], help="of R and G, in place of the preset's output")
    add("--people", type=int, default=1024, help="that T's identity classifier tells apart")
    add("--noise", type=float, default=0.003, help="at most, in the landmarks given to T and L, in sides of their box")
    add("--data", default="synthetic", choices=["synthetic", "rafd", "multi-pie"], help="pictures for R and G")
    add("--root", help="folder of the photos")
    add_source_options(parser, " --clips rotation")
    add("--shown", type=int, default=16, help="pictures that are validated with")
    add("--adversarial_from", type=float, default=0.5, help="share of the training before it is switched on")
    add("--pose", type=float, default=0.05, help="weight of R's pose loss (equation 7)")
    add("--lifter", help="weights of L that the others work with; those trained in --output when left out")
    add("--rotator", help="weights of R that G sees through; those trained in --output when left out")
    add("--drawer", help="weights of a DCNet to start R from")
    add("--variant", choices=list(VARIANTS), default="full", help="of G: with R, without it, or the baseline Pix2Pix")
    return parser


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--module", default="all")
    module = first.parse_known_args(arguments)[0].module
    for chosen in FOLDERS if module not in FOLDERS else [module]:
        options = common.parse(build_parser(chosen), arguments)
        folder = options.variant if chosen == "G" and options.variant != "full" else FOLDERS[chosen]
        options.output = Path(options.output) / folder
        if module == "all" and options.resume:
            spent = common.saved_progress(options)
            if spent == 1:
                continue
            options.resume = spent is not None
        TRAINING[chosen](options)


TRAINING = {"L": train_lifter, "T": train_transformer, "R": train_rotator, "G": train_generator}


if __name__ == "__main__":
    common.command(main)
