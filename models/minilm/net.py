"""all-MiniLM-L6-v2: a sentence encoder (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).

Tokens in, an embedding of 384 numbers and length 1 out: the dot product of two is the similarity of their sentences.
"""

import torch
from transformers import BertConfig, BertModel

CONFIG = BertConfig(
    vocab_size=30522,
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
    max_position_embeddings=512,
)


class SentenceEncoder(BertModel):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        # Checkpoints of transformers 4 hold this buffer; transformers 5 keeps it out of the state dict.
        positions = torch.arange(config.max_position_embeddings).unsqueeze(0)
        self.embeddings.register_buffer("position_ids", positions, persistent=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """``input_ids`` and ``attention_mask`` are (batch, sequence); the mask is 1 for tokens and 0 for padding."""
        weights = attention_mask.unsqueeze(-1).to(self.dtype)
        # What is added to each score, in the shape that BertModel takes as it is: what it makes of a mask of two dimensions is a
        # graph of 50 operators, which older parsers do not know all of. In float16 too, 1e4 less makes a weight of 0.
        scores = (1.0 - weights).transpose(1, 2).unsqueeze(1) * -1e4
        kinds = torch.zeros_like(input_ids)
        tokens = super().forward(input_ids=input_ids, attention_mask=scores, token_type_ids=kinds).last_hidden_state
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(mean, dim=1)


def build() -> SentenceEncoder:
    return SentenceEncoder(CONFIG)
