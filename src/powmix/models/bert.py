"""The text encoder of the BERT models, which may be any of transformers': token ids in, one vector per token out.

Shape suffixes: B batch, L tokens, D encoder width. Tokens (B, 3, L) are padded on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.encoders import TINY, check_encoder, configuration, load_encoder
from powmix.models.base import Inputs
from powmix.models.dropout import Noise
from powmix.models.packing import in_lines

BERT = {"pretrained": "bert-base-uncased", "finetune": True}
"""The default of a model's option `text`: what `TextEncoder` is made with."""
SPECIAL_TOKENS = 104
"""The least vocabulary: [PAD], [UNK], [CLS], [SEP], [MASK] are 0, 100, 101, 102, 103."""


class TextEncoder(nn.Module):
    """BERT (Devlin et al. 2019), computed on tokens alone, or another encoder, on as many as the longest example has.

    pretrained: which weights (see `check_encoder`); finetune: whether they are trained. A frozen encoder gets no
    gradient and no dropout (M-SENA leaves its dropout on there; no published number rests on that). The pooler exists
    only where it is used: it would get no gradient elsewhere; an encoder without one gets one like BERT's. Of the word
    embeddings it keeps those that the data can ask for (`KnownWords`). Dropout is drawn from `noise`; None means
    evaluation.
    """

    bert: Any  # of transformers, whose encoders have no common type

    def __init__(self, inputs: Inputs, pretrained: str, finetune: bool = True, pooler: bool = False):
        super().__init__()
        self.finetune, self.pretrained = finetune, pretrained
        self.bert = load_bert(pretrained, inputs.vocabulary, pooler)
        config = self.bert.config
        if inputs.vocabulary > config.vocab_size:
            raise ValueError(
                f"model.text.pretrained={pretrained!r} knows {config.vocab_size} tokens, the data holds token ids "
                f"up to {inputs.vocabulary - 1}: choose the encoder whose tokenizer made them"
            )
        self.is_bert = config.model_type == "bert"
        self.padding: int = getattr(config, "pad_token_id", None) or 0
        if inputs.token_ids is not None:
            table = self.bert.get_input_embeddings()
            self.bert.set_input_embeddings(KnownWords(table, (*inputs.token_ids, self.padding)))
        self.width: int = config.hidden_size
        self.positions = positions_of(self.bert)
        self.bert.requires_grad_(self.finetune)
        if pooler and getattr(self.bert, "pooler", None) is None:
            self.pooler = nn.Linear(self.width, self.width)

    def forward(
        self, tokens_B3L: Tensor, noise: Noise | None = None, shift: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last hidden states (B, L', D) and which of them are tokens (B, L'), L' the batch's longest example.

        shift: changes the embeddings (B, L', D) before the encoder reads them.
        """
        tokens, mask_BL = self.cut(tokens_B3L)
        with self.randomness(noise):
            read = self.read_as_bert if self.is_bert else self.read_whole
            return read(tokens, mask_BL, shift), mask_BL

    @torch.no_grad()
    def admit(self, ids: Tensor) -> None:
        """Words that the training data lacked get the vectors which the encoder began with, so that they can be read.

        ValueError for ids for which it began with none.
        """
        words, size = self.bert.get_input_embeddings(), self.bert.config.vocab_size
        if (most := int(ids.max())) >= size:
            raise ValueError(
                f"text: token ids up to {most}, model.text.pretrained={self.pretrained!r} knows {size}: choose its own "
                "tokenizer"
            )
        lacking = ids[words.row[ids] == len(words.weight)] if isinstance(words, KnownWords) else ids[:0]
        if not len(lacking):
            return
        if self.pretrained == TINY:
            raise ValueError(
                f"text: {len(lacking)} token ids that the training data lacked, such as {int(lacking[0])}: "
                "model.text.pretrained=tiny began with no words of its own"
            )
        begun: Any = load_bert(self.pretrained, 0, False)
        whole = begun.get_input_embeddings().to(words.weight.device)
        whole.weight[words.row < len(words.weight)] = words.weight
        self.bert.set_input_embeddings(whole)

    def cut(self, tokens_B3L: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens without padding that no example needs, and their mask; an empty example keeps its first token."""
        mask_BL = tokens_B3L[:, 1] != 0
        longest = max(1, int(mask_BL.sum(-1).max()))
        if self.positions is not None and longest > self.positions:
            raise ValueError(f"model.text: an example of {longest} tokens, the encoder has {self.positions} positions")
        first_L = torch.arange(longest, device=mask_BL.device) == 0
        return tokens_B3L[..., :longest], mask_BL[:, :longest] | first_L

    @contextmanager
    def randomness(self, noise: Noise | None) -> Iterator[None]:
        """Inside, the encoder's own dropout draws from `noise`, or is off."""
        active = noise is not None and self.finetune
        if self.bert.training != active:
            self.bert.train(active)
        if noise is None or not active:
            yield
            return
        with noise.as_global(next(self.bert.parameters()).device):
            yield

    def read_as_bert(self, tokens_B3L: Tensor, mask_BL: Tensor, shift: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Word, position and type embeddings, after their LayerNorm and dropout, then the encoder (B, L, D).

        The encoder reads several examples in a line, each by itself; after an example's tokens stands its last state.
        """
        embedded_BLD = self.bert.embeddings(input_ids=tokens_B3L[:, 0], token_type_ids=tokens_B3L[:, 2])
        if shift is not None:
            embedded_BLD = shift(embedded_BLD)
        batch, steps = mask_BL.shape
        (places,) = in_lines([mask_BL.sum(-1)])
        lines_RSD = places.fill(embedded_BLD.flatten(0, 1), torch.arange(batch, device=mask_BL.device) * steps)
        states_RSD = self.bert.encoder(lines_RSD, attention_mask=places.own().unsqueeze(1)).last_hidden_state
        return places.padded(states_RSD, steps)

    def read_whole(self, tokens_B3L: Tensor, mask_BL: Tensor, shift: Callable[[Tensor], Tensor] | None) -> Tensor:
        """The same of an encoder that counts positions and treats padding its own way: it sees its own padding id."""
        types = {"token_type_ids": tokens_B3L[:, 2]} if getattr(self.bert.config, "type_vocab_size", 0) > 1 else {}
        ids_BL = tokens_B3L[:, 0].where(mask_BL, self.padding)
        hook = shift and self.bert.embeddings.register_forward_hook(lambda module, given, embedded: shift(embedded))
        try:
            return self.bert(input_ids=ids_BL, attention_mask=mask_BL.long(), **types).last_hidden_state
        finally:
            if hook:
                hook.remove()

    def pool(self, states_BLD: Tensor) -> Tensor:
        """BERT's pooler: tanh of a linear map of the first token (B, D)."""
        if hasattr(self, "pooler"):
            return self.pooler(states_BLD[:, 0]).tanh()
        return self.bert.pooler(states_BLD)


class KnownWords(nn.Module):
    """The rows of a word embedding (V, D) for some token ids and the special ones: any shape of ids in, (..., D) out.

    No other row can change a prediction, yet Adam would read and write all of them at every step, and every checkpoint
    hold them: for MOSI nine tenths of BERT's table, which is half of MiniLM. An id that is not known raises IndexError.
    """

    row: Tensor

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
    """An encoder of transformers from local files, or for `tiny` a random BERT, which the global generator decides.

    ValueError for a model that is no encoder of text. A pooler that is not asked for is left out.
    """
    folder = check_encoder(name)
    from transformers import BertConfig, BertModel  # five seconds: only where a BERT model is built

    if folder is None:
        sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        sizes |= {"intermediate_size": 256, "attn_implementation": "sdpa"}
        config = BertConfig(vocab_size=max(vocabulary, SPECIAL_TOKENS), **sizes)
        return BertModel(config, add_pooling_layer=pooler)
    with quiet():
        if configuration(folder).get("model_type", "bert") == "bert":
            return load_encoder(folder, "BertModel", add_pooling_layer=pooler, attn_implementation="sdpa")
        encoder = load_encoder(folder)
    config = encoder.config
    if config.is_encoder_decoder or not hasattr(config, "vocab_size") or not hasattr(encoder, "embeddings"):
        raise ValueError(f"model.text.pretrained={name!r}: a {config.model_type!r} model is no encoder of text alone")
    if hasattr(encoder, "pooler") and not pooler:
        encoder.pooler = None
    return encoder


def positions_of(encoder: nn.Module) -> int | None:
    """How many tokens have a position: RoBERTa's begin after its padding id; None where positions are relative."""
    table = getattr(encoder.embeddings, "position_embeddings", None)
    if table is None:
        return None
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


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
