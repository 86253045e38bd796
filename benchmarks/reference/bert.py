"""BERT on the full padded token sequence, with random weights of a given size.

Shape suffixes: B batch, L padded tokens, D width. Token arrays are (B, 3, L): ids, attention mask, token types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

SMALL = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 512}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


class TextEncoder(nn.Module):
    """The last hidden states (B, L, D) of `transformers`' BertModel, fine-tuned whole."""

    def __init__(self, config: Mapping[str, Any] = SMALL):
        from transformers import BertConfig, BertModel

        super().__init__()
        self.bert = BertModel(BertConfig(**config))
        self.width = self.bert.config.hidden_size

    def forward(self, tokens_B3L: Tensor) -> Tensor:
        ids_BL, mask_BL, types_BL = (tokens_B3L[:, row] for row in range(3))
        return self.bert(
            input_ids=ids_BL.long(), attention_mask=mask_BL.float(), token_type_ids=types_BL.long()
        ).last_hidden_state
