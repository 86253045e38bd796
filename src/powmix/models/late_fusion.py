"""Late fusion of any number of modalities of any kind: one encoder each, then a fusion by name. Ours, not the paper's.

Shape suffixes: B batch, R rows given to fusion, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.dropout import Noise
from powmix.models.fusions import FUSIONS
from powmix.models.modality_encoders import SEQUENCES, Image, ModalityEncoder, Tokens, Vector

NO_TEXT = {"pretrained": None, "finetune": True}
"""The default of the option `text`: token ids are not read."""


class LateFusion(FusionModel):
    """Encodes each modality by its kind (modality_encoders.py) into (B, width) and fuses by name (fusions.py).

    hidden: by modality (B, width), in the dataset's order; none is negative. Options: conf/model/late_fusion.yaml.
    text: with `pretrained`, an encoder reads the token ids as the modality `text`, in place of dense `text` if there is
    any. Padding is never read, whatever the protocol: a prediction does not depend on the other examples of a batch.
    """

    needs = ("*",)

    def __init__(
        self,
        inputs: Inputs,
        width: int = 32,
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.2,
        sequence_encoder: str = "conv",
        fusion: str = "concat",
        fusion_hidden: int = 64,
        text: Mapping[str, Any] = NO_TEXT,
    ):
        super().__init__()
        bodies: dict[str, nn.Module] = {}
        if text.get("pretrained") is not None:
            bodies["text"] = Tokens(inputs, text)
        kinds = {"vector": Vector, "sequence": SEQUENCES[sequence_encoder], "image": Image}
        for name, features in inputs.dims.items():
            if name not in bodies:
                bodies[name] = kinds[inputs.kind(name)](features, hidden, layers, dropout)
        self.encoders = nn.ModuleList(ModalityEncoder(name, body, width, dropout) for name, body in bodies.items())
        self.fusion = FUSIONS[fusion](len(bodies), width, fusion_hidden, inputs.outputs, dropout)

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        reads_tokens = (options.get("text") or {}).get("pretrained") is not None
        return (*cls.needs, "tokens") if reads_tokens else cls.needs

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        return Encoded({str(encoder.name): encoder(batch, noise) for encoder in self.encoders})

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        return self.fusion([hidden[str(encoder.name)] for encoder in self.encoders], noise)
