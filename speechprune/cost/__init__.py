"""What an answer costs, in closed form and before the fact: the paper's account and the actual FLOPs.

``python -m speechprune.cost`` prints both for any model configuration, without its weights.
"""

from speechprune.cost.encoders import (
    BlockwiseEncoderShape,
    ChunkedEncoderShape,
    CtcShape,
    QueryingEncoderShape,
    TranscriberShape,
    WhisperEncoderShape,
    WhisperGatedMlpShape,
    WhisperMlpShape,
)
from speechprune.cost.formulas import (
    Cost,
    answer_cost,
    decode_flops,
    encode_flops,
    late_interaction_flops,
    paper_activation_bytes,
    paper_kv_cache_bytes,
    paper_prefill_flops,
    paper_weights_bytes,
    phase1_flops,
    phase2_flops,
    prefill_flops,
    texts_flops,
)
from speechprune.cost.gemma_shapes import ConformerShape, UnevenDecoderShape
from speechprune.cost.granite_shapes import QueriedConformerShape
from speechprune.cost.phi4_shapes import SubsampledConformerShape
from speechprune.cost.shapes import DecoderShape, EncoderShape, ExpertsDecoderShape, ModelShape

__all__ = [
    "BlockwiseEncoderShape",
    "ChunkedEncoderShape",
    "ConformerShape",
    "Cost",
    "CtcShape",
    "DecoderShape",
    "EncoderShape",
    "ExpertsDecoderShape",
    "ModelShape",
    "QueriedConformerShape",
    "QueryingEncoderShape",
    "SubsampledConformerShape",
    "TranscriberShape",
    "UnevenDecoderShape",
    "WhisperEncoderShape",
    "WhisperGatedMlpShape",
    "WhisperMlpShape",
    "answer_cost",
    "decode_flops",
    "encode_flops",
    "late_interaction_flops",
    "paper_activation_bytes",
    "paper_kv_cache_bytes",
    "paper_prefill_flops",
    "paper_weights_bytes",
    "phase1_flops",
    "phase2_flops",
    "prefill_flops",
    "texts_flops",
]
