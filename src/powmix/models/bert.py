"""The text encoder of the BERT models: token ids in, one vector per token out.

Shape suffixes: B batch, L tokens, D encoder width. Tokens (B, 3, L) are padded on the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.encoders import check_encoder, load_encoder
from powmix.models.base import Inputs
from powmix.models.dropout import Noise

BERT = {"pretrained": "bert-base-uncased", "finetune": True}
"""The default of a model's option `text`: what `TextEncoder` is made with."""
SPECIAL_TOKENS = 104
"""The least vocabulary: [PAD], [UNK], [CLS], [SEP], [MASK] are 0, 100, 101, 102, 103."""


class TextEncoder(nn.Module):
    """BERT (Devlin et al. 2019), fine-tuned or frozen, computed on the batch's longest example.

    pretrained: which weights (see `check_encoder`); finetune: whether they are trained. A frozen encoder gets no
    gradient and no dropout (M-SENA leaves its dropout on there; no published number rests on that). The pooler exists
    only where it is used: it would get no gradient elsewhere. Of the word embeddings it keeps those that the data can
    ask for (`KnownWords`). Dropout is drawn from `noise`; None means evaluation.
    """

    def __init__(self, inputs: Inputs, pretrained: str, finetune: bool = True, pooler: bool = False):
        super().__init__()
        self.finetune = finetune
        self.bert = load_bert(pretrained, inputs.vocabulary, pooler)
        config = self.bert.config
        if inputs.vocabulary > config.vocab_size:
            raise ValueError(
                f"model.text.pretrained={pretrained!r} knows {config.vocab_size} tokens, the data holds token ids "
                f"up to {inputs.vocabulary - 1}: choose the encoder whose tokenizer made them"
            )
        if inputs.token_ids is not None:
            self.bert.embeddings.word_embeddings = KnownWords(self.bert.embeddings.word_embeddings, inputs.token_ids)
        self.width: int = config.hidden_size
        self.positions: int = config.max_position_embeddings
        self.bert.requires_grad_(self.finetune)

    def forward(self, tokens_B3L: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """The last hidden states (B, L', D) and which of them are tokens (B, L'), L' the batch's longest example."""
        tokens, mask_BL = self.cut(tokens_B3L)
        with self.randomness(noise):
            return self.transform(self.embed(tokens), mask_BL), mask_BL

    def cut(self, tokens_B3L: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens without padding that no example needs, and their mask; an empty example keeps its first token."""
        mask_BL = tokens_B3L[:, 1] != 0
        longest = max(1, int(mask_BL.sum(-1).max()))
        if longest > self.positions:
            raise ValueError(f"model.text: an example of {longest} tokens, the encoder has {self.positions} positions")
        first_L = torch.arange(longest, device=mask_BL.device) == 0
        return tokens_B3L[..., :longest], mask_BL[:, :longest] | first_L

    @contextmanager
    def randomness(self, noise: Noise | None) -> Iterator[None]:
        """Inside, BERT's own dropout draws from `noise`, or is off: around `embed` and `transform`."""
        active = noise is not None and self.finetune
        if self.bert.training != active:
            self.bert.train(active)
        if not active:
            yield
            return
        with noise.as_global(next(self.bert.parameters()).device):
            yield

    def embed(self, tokens_B3L: Tensor) -> Tensor:
        """Word, position and type embeddings (B, L, D), after their LayerNorm and dropout."""
        return self.bert.embeddings(input_ids=tokens_B3L[:, 0], token_type_ids=tokens_B3L[:, 2])

    def transform(self, embedded_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The encoder's last hidden states (B, L, D); padding is not attended to."""
        return self.bert.encoder(embedded_BLD, attention_mask=mask_BL[:, None, None, :]).last_hidden_state

    def pool(self, states_BLD: Tensor) -> Tensor:
        """BERT's pooler: tanh of a linear map of the first token (B, D)."""
        return self.bert.pooler(states_BLD)


class KnownWords(nn.Module):
    """The rows of a word embedding (V, D) for some token ids and the special ones: any shape of ids in, (..., D) out.

    No other row can change a prediction, yet Adam would read and write all of them at every step, and every checkpoint
    hold them: for MOSI nine tenths of BERT's table, which is half of MiniLM. An id that is not known raises IndexError.
    """

    def __init__(self, table: nn.Embedding, ids: Sequence[int]):
        super().__init__()
        known = torch.tensor(sorted({*ids, *range(min(SPECIAL_TOKENS, table.num_embeddings))}))
        self.weight = nn.Parameter(table.weight.detach()[known])
        row_V = torch.full((table.num_embeddings,), len(known))
        row_V[known] = torch.arange(len(known))
        self.register_buffer("row", row_V)
        self.padding = None if table.padding_idx is None else int(row_V[table.padding_idx])

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(self.row[ids], self.weight, self.padding)


def load_bert(name: str, vocabulary: int, pooler: bool) -> nn.Module:
    """A `transformers.BertModel` from local files, or for `tiny` a random one, which the global generator decides."""
    folder = check_encoder(name)
    from transformers import BertConfig, BertModel  # five seconds: only where a BERT model is built

    if folder is not None:
        with quiet():
            return load_encoder(folder, "BertModel", add_pooling_layer=pooler, attn_implementation="sdpa")
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    config = BertConfig(vocab_size=max(vocabulary, SPECIAL_TOKENS), attn_implementation="sdpa", **sizes)
    return BertModel(config, add_pooling_layer=pooler)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bar and its report of the pre-training heads that are left out."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
