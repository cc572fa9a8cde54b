"""The peers' networks in PyTorch, from their published tables: GANimation's generator and critic, and BiSeNet with ResNet-18."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


class Residual(nn.Module):
    """Two 3x3 convolutions with instance normalisation, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(width), nn.ReLU(inplace=True)]
        self.main = nn.Sequential(*layers, nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.main(x)


class Generator(nn.Module):
    """GANimation's generator (Pumarola et al. 2018): an image and action units in, colour and attention out."""

    def __init__(self, width: int = 64, blocks: int = 6, units: int = 17) -> None:
        super().__init__()
        layers = [nn.Conv2d(3 + units, width, 7, 1, 3, bias=False), _norm(width), nn.ReLU(inplace=True)]
        for _ in range(2):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), _norm(2 * width), nn.ReLU(inplace=True)]
            width *= 2
        layers += [Residual(width) for _ in range(blocks)]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), _norm(width // 2)]
            layers += [nn.ReLU(inplace=True)]
            width //= 2
        self.main = nn.Sequential(*layers)
        self.color = nn.Conv2d(width, 3, 7, 1, 3, bias=False)
        self.attention = nn.Conv2d(width, 1, 7, 1, 3, bias=False)

    def forward(self, image: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Take (B, 3, H, W) and (B, units); return colour (B, 3, H, W) and attention (B, 1, H, W), 1 keeps."""
        planes = expression[:, :, None, None].expand(-1, -1, *image.shape[2:])
        x = self.main(torch.cat([image, planes], 1))
        return torch.tanh(self.color(x)), torch.sigmoid(self.attention(x))


class Critic(nn.Module):
    """GANimation's critic: realness of each patch, and the action units seen."""

    def __init__(self, size: int = 128, width: int = 64, depth: int = 6, units: int = 17) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for i in range(depth):
            layers += [nn.Conv2d(before, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01, inplace=True)]
            before = width * 2**i
        self.main = nn.Sequential(*layers)
        self.realness = nn.Conv2d(before, 1, 3, 1, 1, bias=False)
        self.units = nn.Conv2d(before, units, size // 2**depth, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Take (B, 3, H, W); return realness (B, h, w) and expression (B, units)."""
        x = self.main(image)
        return self.realness(x).squeeze(1), self.units(x).flatten(1)


class Convolve(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1) -> None:
        convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Basic(nn.Module):
    """ResNet-18's block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        last = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.main = nn.Sequential(Convolve(before, after, 3, stride), last)
        self.short = nn.Sequential()
        if stride > 1:
            self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return functional.relu(self.main(x) + self.short(x), inplace=True)


class Refine(nn.Module):
    """The attention refinement module."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.main = Convolve(before, after)
        self.attention = nn.Sequential(nn.Conv2d(after, after, 1, bias=False), nn.BatchNorm2d(after), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the features weighted by channel."""
        x = self.main(x)
        return x * self.attention(x.mean((2, 3), keepdim=True))


class Head(nn.Module):
    """Class logits, grown to the image's size."""

    def __init__(self, before: int, middle: int, classes: int, times: int) -> None:
        super().__init__()
        self.main = nn.Sequential(Convolve(before, middle), nn.Conv2d(middle, classes, 1, bias=False))
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return functional.interpolate(self.main(x), scale_factor=self.times, mode="bilinear", align_corners=False)


class BiSeNet(nn.Module):
    """BiSeNet as used for face parsing (Yu et al. 2018, ResNet-18): its eighth-size features stand for the spatial path.

    With a spatial path of its own, as in the paper and in ours, it would have 13,392,384 parameters.
    """

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convolve(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        sizes = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.stages = nn.ModuleList(nn.Sequential(Basic(a, b, s), Basic(b, b, 1)) for a, b, s in sizes)
        self.refine16, self.refine32 = Refine(256, 128), Refine(512, 128)
        self.after16, self.after32, self.scene = Convolve(128, 128), Convolve(128, 128), Convolve(512, 128, 1)
        self.fuse = Convolve(256, 256, 1)
        squeeze = nn.Sequential(nn.Conv2d(256, 64, 1, bias=False), nn.ReLU(inplace=True))
        self.fuse_attention = nn.Sequential(squeeze, nn.Conv2d(64, 256, 1, bias=False), nn.Sigmoid())
        self.heads = nn.ModuleList([Head(256, 256, classes, 8), Head(128, 64, classes, 8), Head(128, 64, classes, 16)])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Take (B, 3, H, W); return the logits (B, classes, H, W), in training those of the other two heads too."""
        x = self.stages[1](self.stages[0](self.stem(image)))
        x16 = self.stages[2](x)
        x32 = self.stages[3](x16)
        scene = self.scene(x32.mean((2, 3), keepdim=True))
        deep = self.after32(functional.interpolate(self.refine32(x32) + scene, scale_factor=2.0))
        context = self.after16(functional.interpolate(self.refine16(x16) + deep, scale_factor=2.0))
        fused = self.fuse(torch.cat([x, context], 1))
        fused = fused + fused * self.fuse_attention(fused.mean((2, 3), keepdim=True))
        inputs = (fused, context, deep) if self.training else (fused,)
        return [head(x) for head, x in zip(self.heads, inputs, strict=False)]


PUBLISHED = {"generator": (Generator, 8_471_296), "critic": (Critic, 44_860_352), "bisenet": (BiSeNet, 13_300_416)}
"""The networks and their published numbers of parameters."""


def counted() -> dict[str, int]:
    """Return each network's parameters. Raises ValueError where they are not as many as published."""
    found = {name: sum(p.numel() for p in build().parameters()) for name, (build, _) in PUBLISHED.items()}
    if found != (expected := {name: count for name, (_, count) in PUBLISHED.items()}):
        raise ValueError(f"`networks` must have {expected} parameters, as published. Received: {found}")
    return found
