"""Train the FaceEmbedder on rendered people, each seen at least twice: `python -m train.face_embedder --preset cpu`.

Pictures of one person attract, those of others repel (NT-Xent, Chen et al. 2020). Hair and skin alone would tell the
people of a batch apart, so the vector must also give the shape coefficients α, and colours are changed at random.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lirec.models.face_embedder import FaceEmbedder
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from train import common
from train.data.cache import FaceBatch, add_source_options, to_batch, training_faces
from train.data.skins import Dice, column
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.rec_net import prepare_rendered


def contrastive_loss(vectors: torch.Tensor, people: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """NT-Xent of unit vectors (B, D) whose neighbours 2i and 2i+1 show one person; `people (B,)` are their numbers."""
    similarity = vectors @ vectors.T / temperature
    count = len(vectors)
    own = torch.arange(count, device=vectors.device)
    partner = own ^ 1
    same = people[:, None] == people[None]
    same[own, partner] = False  # the one positive stays; other pictures of the person are left out
    similarity = similarity.masked_fill(same, float("-inf"))
    return F.cross_entropy(similarity, partner)


def recolour(images: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Another white balance and brightness: colour must not be what tells people apart."""
    gain = torch.exp(dice.normal(0, 0.2, 3) + dice.normal(0, 0.2)[:, None])
    grey = images.mean(1, keepdim=True)
    keep = column(dice.uniform(0, 1))
    return ((grey + keep * (images - grey)) * column(gain)).clamp(0, 1)


def verification_rate(vectors: torch.Tensor) -> float:
    """Share of pictures (B, D) nearer to their partner (2i, 2i+1) than to a random other person's picture."""
    own = torch.arange(len(vectors), device=vectors.device)
    similarity = vectors @ vectors.T
    positive = similarity[own, own ^ 1]
    others = ~((own[:, None] // 2) == (own[None] // 2))
    return ((positive[:, None] > similarity) & others).float().sum().item() / others.sum().item()


def main(arguments=None):
    parser = common.parser(__doc__.splitlines()[0], "face_embedder")
    add_source_options(parser, " --per_identity 2")
    parser.add_argument("--morphable_model", default="hub/rec-aug-net/morphable_model")
    options = common.parse(parser, arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model).to(run.device)
    network = common.build(FaceEmbedder, options.model)
    shape_head = nn.Linear(network.config.dimension, model.config.identity_count)
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *shape_head.parameters()],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    network, shape_head, optimizer = run.prepare(network, shape_head, optimizer)
    average = run.average(network, "face_embedder")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    size = options.model.get("image_size", 112)
    renderer = SyntheticFaces(model, 160, run.device, supersampling=1.2)
    loader = training_faces(options, lambda: renderer, options.batch_size, run.data_seed, people=2)
    held_out = FaceBatch.cat(
        [
            to_batch(renderer.sample(8, HELD_OUT_SEED + 50_000 + i, pictures_per_identity=2, degraded=False))
            for i in range(16)
        ]
    )
    held_out, _ = prepare_rendered(held_out, model, torch.Generator(run.device).manual_seed(0), size, 0.5)

    def validate():
        run.log(**{"validation.verification": verification_rate(average(held_out.image))})

    for batch in run.steps(loader, validate):
        faces, _ = prepare_rendered(batch, model, generator, size, 0.7)
        image = recolour(faces.image, Dice(len(faces), generator))
        with run.autocast():
            vectors = network(image.contiguous(memory_format=torch.channels_last))
        vectors = vectors.float()
        contrast = contrastive_loss(vectors, faces.identity_number)
        shape = (shape_head(vectors * 8) - faces.identity).square().mean()
        run.optimize(contrast + 0.3 * shape, optimizer)
        run.log(contrast=contrast, shape=shape)


if __name__ == "__main__":
    common.command(main)
