"""The peers' side of benchmarks/peers/run.py: PyTorch on one thread."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from networks import BiSeNet, Critic, Generator, counted
from torch import Tensor, nn
from torch.nn import functional
from turns import Step, processor_ms, take_turns

UNITS, CLASSES = 17, 19
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
chosen: dict[str, Any] = {}


def quicker(make: Callable[[torch.memory_format], Step]) -> Step:
    """Return the work in the layout in which it takes less, measured three times each; `chosen` keeps which."""
    made = {name: make(layout) for name, layout in LAYOUTS.items()}
    taken = {name: min(processor_ms(step) for _ in range(4)) for name, step in made.items()}
    chosen["layout"] = min(taken, key=lambda name: taken[name])
    return made[chosen["layout"]]


def edit(batch: int) -> Step:
    """GANimation's generator alone on images of 128 px."""

    def make(layout: torch.memory_format) -> Step:
        network = Generator().eval().to(memory_format=layout)
        image = (torch.rand(batch, 3, 128, 128) * 2 - 1).to(memory_format=layout)
        expression = torch.rand(batch, UNITS)
        return torch.inference_mode()(lambda: network(image, expression))

    return quicker(make)


def segment(size: int) -> Step:
    """BiSeNet's segmentation of one image."""

    def make(layout: torch.memory_format) -> Step:
        network = BiSeNet(CLASSES).eval().to(memory_format=layout)
        image = (torch.rand(1, 3, size, size) * 2 - 1).to(memory_format=layout)
        return torch.inference_mode()(lambda: network(image))

    return quicker(make)


def hard_pixels(logits: Tensor, mask: Tensor) -> Tensor:
    """BiSeNet's loss: cross-entropy of the pixels below probability .7, at least a sixteenth of all."""
    error = functional.cross_entropy(logits, mask, reduction="none").flatten()
    hard = error[error > -torch.log(torch.tensor(0.7))]
    return (hard if len(hard) >= len(error) // 16 else error.topk(len(error) // 16).values).mean()


def learn_segmenting() -> Step:
    """One step of BiSeNet's training, three heads, hard pixels, SGD with momentum as published."""

    def make(layout: torch.memory_format) -> Step:
        network = BiSeNet(CLASSES).to(memory_format=layout)
        optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.9, weight_decay=5e-4)
        image = (torch.rand(4, 3, 256, 256) * 2 - 1).to(memory_format=layout)
        mask = torch.randint(0, CLASSES, (4, 256, 256))

        def step() -> None:
            optimizer.zero_grad()
            torch.stack([hard_pixels(logits, mask) for logits in network(image)]).sum().backward()
            optimizer.step()

        return step

    return quicker(make)


def learn_editing() -> Step:
    """One update of GANimation's critic and one of its generator at conv_dim 16, 64 px, batch 16."""
    return quicker(_ganimation)


def _ganimation(layout: torch.memory_format) -> Step:
    generator, critic = Generator(16).to(memory_format=layout), Critic(64, 16).to(memory_format=layout)
    adam = partial(torch.optim.Adam, lr=1e-4, betas=(0.5, 0.999))
    of_generator, of_critic = adam(generator.parameters()), adam(critic.parameters())
    image = (torch.rand(16, 3, 64, 64) * 2 - 1).to(memory_format=layout)
    seen, asked = torch.rand(16, UNITS), torch.rand(16, UNITS)

    def edited(photo: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        color, attention = generator(photo, expression)
        return attention * photo + (1 - attention) * color, attention

    def step() -> None:
        with torch.no_grad():
            fake, _ = edited(image, asked)
        of_critic.zero_grad()
        _critic_loss(critic, image, fake, seen).backward()
        of_critic.step()
        of_generator.zero_grad()
        fake, attention = edited(image, asked)
        back, attention_back = edited(fake, seen)
        realness, units = critic(fake)
        loss = -realness.mean() + 160 * functional.mse_loss(units, asked) + 10 * functional.l1_loss(back, image)
        for each in (attention, attention_back):
            loss = loss + 0.1 * (1 - each).mean() + 1e-5 * _variation(each)
        loss.backward()
        of_generator.step()

    return step


def _variation(attention: Tensor) -> Tensor:
    down, right = attention.diff(dim=2).square(), attention.diff(dim=3).square()
    return (down.sum() + right.sum()) / len(attention)


def _critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, seen: Tensor) -> Tensor:
    """WGAN-GP and the expression's error; the penalty at a random mixture."""
    realness, units = critic(real)
    mix = torch.rand(len(real), 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(between)[0].mean((1, 2)).sum(), between, create_graph=True)[0]
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return critic(fake)[0].mean() - realness.mean() + 160 * functional.mse_loss(units, seen) + 10 * penalty


WORKS: dict[str, Callable[[], Step]] = {
    "edit-1": partial(edit, 1),
    "edit-8": partial(edit, 8),
    "segment-512": partial(segment, 512),
    "segment-256": partial(segment, 256),
    "learn-segmenting": learn_segmenting,
    "learn-editing": learn_editing,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    take_turns(WORKS, lambda: {"torch": torch.__version__, "parameters": counted(), **chosen})
