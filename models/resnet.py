"""ResNet-18 for small images (He et al., "Deep Residual Learning", CVPR 2016).

Table 1's network with the stem of its CIFAR experiments: a 3×3 convolution of stride 1 and no
pooling; 11,173,962 weights for 10 classes. Parameters are named as torchvision's. Batch statistics
are those of a rank's micro-batch. Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from models import Input, Recipe

# Of CIFAR-10's training images, in [0, 1].
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
GREY_MEAN, GREY_STD = (0.5,), (0.25,)  # for other numbers of channels

RECIPES = {
    "resnet18": Recipe(
        task="classify",
        data="cifar10",
        task_options={"augment": "flip"},
        global_batch_size=128,
        epochs=200,
        optimiser="sgd",
        lr=0.1,
        betas=(0.9, 0.999),
        weight_decay=5e-4,
        schedule="cosine",
        validate_every=3520,  # ten epochs of 45,000
    ),
}


def build(*, side: int = 32, channels: int = 3, width: int = 64, classes: int = 10) -> nn.Module:
    """Build the network for square images of `side` pixels; width: channels of the first stage."""
    if min(side, channels, width, classes) < 1:
        raise ValueError("side, channels, width and classes are 1 or more")
    return ResNet(side, channels, width, classes)


class ResNet(nn.Module):
    """Images in, a logit a class out: four stages of two blocks."""

    def __init__(self, side: int, channels: int, width: int, classes: int) -> None:
        super().__init__()
        mean, std = (MEAN, STD) if channels == len(MEAN) else (GREY_MEAN, GREY_STD)
        self.inputs = {"image": Input(channels=channels, size=(side, side), mean=mean, std=std)}
        self.classes = classes
        self.conv1 = conv(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 1)
        self.layer2 = stage(width, 2 * width, 2)
        self.layer3 = stage(2 * width, 4 * width, 2)
        self.layer4 = stage(4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        x = self.bn1(self.conv1(image)).relu()
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(before, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            shortcut = conv(before, width, stride, kernel=1)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, width, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        joined: Tensor = (y + self.downsample(x)).relu()
        return joined


def stage(before: int, width: int, stride: int) -> nn.Sequential:
    """Return two blocks, the first of which may shrink."""
    return nn.Sequential(Block(before, width, stride), Block(width, width, 1))


def conv(before: int, width: int, stride: int, kernel: int = 3) -> nn.Conv2d:
    """Return a convolution without bias, initialised for ReLU (He et al. 2015)."""
    layer = nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
