"""More models of the sweep: libraries beside transformers, timm and torchvision, and kinds of model that people write
themselves. An entry imports its library when it is made: sentence-transformers, diffusers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import BERT, SEQUENCE, ZOO, Subject, build, text


def sentence_transformer() -> Subject:
    """A pipeline of modules, exported as one graph: paths start with `0.`, the index of the transformer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Pooling

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.auto_model = build("BertModel", "BertConfig", BERT)

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            states = self.auto_model(input_ids=features["input_ids"], attention_mask=features["attention_mask"])[0]
            return {**features, "token_embeddings": states}

    class Pipeline(SentenceTransformer):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            for module in self:
                features = module(features)
            return F.normalize(features["sentence_embedding"], dim=-1)

    model = Pipeline(modules=[Backbone(), Pooling(32), Dense(32, 16)], device="cpu")
    return Subject(
        model, text(), "mse", "sentence_embedding", ["sentence_embedding"], SEQUENCE,
    )


ZOO["sentence_transformer"] = sentence_transformer


def unet() -> Subject:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12, attention_head_dim=4,
    )

    def inputs(n: int, s: int) -> dict[str, Tensor]:
        return {
            "sample": torch.randn(n, 4, 8, 8), "timestep": torch.randint(0, 1000, (n,)),
            "encoder_hidden_states": torch.randn(n, s, 12),
        }

    return Subject(model, inputs, "mse", "sample", ["sample_out"], {"encoder_hidden_states": [1]})


def vae() -> Subject:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )
    return Subject(model, lambda n, s: {"sample": torch.randn(n, 3, 16, 16)}, "mse", "sample", ["reconstruction"])


# The result of diffusers has `sample`, which is the name of the input too; make.py takes the outputs by position.
def by_position(make):
    def made() -> Subject:
        subject = make()
        kind = type(subject.model)
        original = kind.forward
        names = list(subject.inputs(1, 4))
        scope = {"original": original}
        exec(f"def forward(self, {', '.join(names)}):\n    return original(self, {', '.join(names)}, return_dict=False)[0]"
             if "timestep" in names else "def forward(self, sample):\n    return original(self, sample, return_dict=False)[0]", scope)
        subject.model.__class__ = type(kind.__name__, (kind,), {"forward": scope["forward"]})
        subject.output = subject.outputs[0]
        return subject

    return made


ZOO["diffusers_unet"] = by_position(unet)
ZOO["diffusers_vae"] = by_position(vae)


class ConvUnit(nn.Module):
    def __init__(self, c: int, out: int, k: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, out, k, stride, k // 2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class Split(nn.Module):
    """A block that splits its channels and keeps every intermediate result (C2f)."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = ConvUnit(c, c), ConvUnit(c // 2 * (2 + n), c)
        self.m = nn.ModuleList(nn.Sequential(ConvUnit(c // 2, c // 2, 3), ConvUnit(c // 2, c // 2, 3)) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            y.append(y[-1] + block(y[-1]))
        return self.cv2(torch.cat(y, 1))


class Detector(nn.Module):
    """Anchor-free boxes from distributions of distances, two strides, upsampling between them (as YOLO v8)."""

    BINS, CLASSES = 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvUnit(3, 8, 3, 2), ConvUnit(8, 8, 3, 2), Split(8, 1))
        self.down, self.pool = ConvUnit(8, 16, 3, 2), nn.MaxPool2d(5, 1, 2)
        self.mix, self.up = ConvUnit(32, 16), nn.Upsample(scale_factor=2, mode="nearest")
        self.join = ConvUnit(24, 8)
        self.box = nn.ModuleList(nn.Conv2d(c, 4 * self.BINS, 1) for c in (8, 16))
        self.cls = nn.ModuleList(nn.Conv2d(c, self.CLASSES, 1) for c in (8, 16))

    def forward(self, images: Tensor) -> Tensor:
        fine = self.stem(images)
        coarse = self.down(fine)
        coarse = self.mix(torch.cat([coarse, self.pool(coarse)], 1))
        fine = self.join(torch.cat([fine, self.up(coarse)], 1))
        found = []
        for feature, box, cls, stride in zip((fine, coarse), self.box, self.cls, (4, 8)):
            h, w = feature.shape[-2:]
            bins = box(feature).view(-1, 4, self.BINS, h * w).softmax(2)
            ltrb = (bins * torch.arange(self.BINS).view(1, 1, -1, 1)).sum(2)
            y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            centres = torch.stack([x.flatten(), y.flatten()])[None]
            first, last = centres - ltrb[:, :2], centres + ltrb[:, 2:]
            boxes = torch.cat([(first + last) / 2, last - first], 1) * stride
            found.append(torch.cat([boxes, cls(feature).flatten(2).sigmoid()], 1))
        return torch.cat(found, 2)


ZOO["detector"] = lambda: Subject(
    Detector(), lambda n, s: {"images": torch.randn(n, 3, 32, 32)}, "mse", "output0", ["output0"], convolutions=True,
)


class AudioClassifier(nn.Module):
    """A spectrogram inside the graph, convolutions, attention pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))
        self.register_buffer("mel", torch.rand(17, 12))
        self.conv, self.attention = nn.Conv1d(12, 16, 3, padding=1), nn.MultiheadAttention(16, 2, batch_first=True)
        self.score, self.proj, self.head = nn.Linear(16, 1), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = torch.stft(waveform, 32, 16, window=self.window, center=False, return_complex=False)
        power = spectrum.pow(2).sum(-1)
        mels = (power.transpose(1, 2) @ self.mel).clamp(min=1e-5).log()
        x = self.conv(mels.transpose(1, 2)).relu().transpose(1, 2)
        x = x + self.proj(x).tanh()
        weight = self.score(x).softmax(1)
        mean = (weight * x).sum(1)
        spread = ((weight * x * x).sum(1) - mean * mean).clamp(min=1e-4).sqrt()
        return self.head(mean + spread)


ZOO["audio_stft"] = lambda: Subject(
    AudioClassifier(), lambda n, s: {"waveform": torch.randn(n, 160)}, "cross-entropy",
)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 12)
        self.lstm = nn.LSTM(12, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 6)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.hidden(self.lstm(self.embed(input_ids))[0]).relu())


ZOO["lstm_tagger"] = lambda: Subject(
    Tagger(), lambda n, s: {"input_ids": torch.randint(0, 100, (n, s))}, "cross-entropy", lengths={"input_ids": [1]},
)


class InverseSpectrum(nn.Module):
    """An enhancer: a mask on the spectrum, and the signal again by overlap and add."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.randn(16, 1, 16) * 0.3)
        self.rnn, self.mask = nn.GRU(16, 12, batch_first=True), nn.Linear(12, 16)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = F.conv1d(waveform[:, None], self.basis, stride=8)
        mask = self.mask(self.rnn(frames.transpose(1, 2))[0]).sigmoid().transpose(1, 2)
        return F.conv_transpose1d(frames * mask, self.basis, stride=8)[:, 0]


ZOO["enhancer"] = lambda: Subject(
    InverseSpectrum(), lambda n, s: {"waveform": torch.randn(n, 160)}, "mse", "enhanced", ["enhanced"],
)
