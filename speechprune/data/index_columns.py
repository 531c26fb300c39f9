"""Rows of the index: one per window, with a comment and a unit per column."""

from __future__ import annotations

import pyarrow as pa

from speechprune.data.column import arrow_field

INDEX_FORMAT = 3  # 1 did not store the times of tokens, 2 had other times where a container's have gaps

WINDOWS_SCHEMA = pa.schema(
    [
        arrow_field("recording", pa.string(), "URI, as the archive lists it"),
        arrow_field("version", pa.string(), "of its content: the store's ETag and size, or size and time"),
        arrow_field("shard", pa.int32(), "number of the part that was decoded and encoded as one, from 0"),
        arrow_field("num_shards", pa.int32(), "a recording is complete with all of them"),
        arrow_field(
            "window",
            pa.int32(),
            "number of the window, counted on from that of its shard's first at fixed length",
        ),
        arrow_field("start_seconds", pa.float64(), "start of the window in the recording", "s"),
        arrow_field(
            "end_seconds",
            pa.float64(),
            "end of its sound; with encoding.skip_silence start and end hold the silence that was left out",
            "s",
        ),
        arrow_field(
            "num_tokens",
            pa.int32(),
            "0 in a part shorter than one, or without speech",
            "audio tokens",
        ),
        arrow_field(
            "peak", pa.int32(), "of its samples, or with encoding.skip_silence its part's", "int16 steps"
        ),
        arrow_field(
            "states",
            pa.large_binary(),
            "the encoder's states before the projector: num_tokens x width numbers of dtype, row by row",
        ),
        arrow_field("dtype", pa.string(), "float16, int8, or int32 for token ids; little-endian"),
        arrow_field("width", pa.int32(), "d, numbers a token"),
        arrow_field(
            "scales", pa.list_(pa.float32()), "int8: a token's states are scale x stored; null for others"
        ),
        arrow_field("norms", pa.list_(pa.float32()), "of each token's audio embedding, behind the projector"),
        arrow_field(
            "token_times",
            pa.large_binary(),
            "start and end of each token in seconds of the recording: float64, little-endian, token by token",
        ),
        arrow_field("audio_bytes", pa.int64(), "size of the recording's file", "bytes"),
        arrow_field("seconds_decode_audio", pa.float64(), "even share of its shard's", "s"),
        arrow_field("seconds_encode", pa.float64(), "even share of its batch's", "s"),
        arrow_field("tflops_encode", pa.float64(), "even share of its batch's", "10^12 FLOPs"),
        arrow_field("model", pa.string(), "model.path"),
        arrow_field("revision", pa.string(), "fingerprint of the model's content"),
        arrow_field("node", pa.string(), "id of the cluster's node that encoded it"),
        arrow_field("indexed_at", pa.timestamp("us", tz="UTC"), "when the row was made"),
    ]
)

# of which a window is one; a shard's rows are written together
SHARD_COLUMNS = ("recording", "version", "shard")
# all that must be known of every row to say what is there
WINDOW_KEY_COLUMNS = (*SHARD_COLUMNS, "num_shards", "window")
# numbers of the account, small beside the states
ACCOUNT_COLUMNS = (
    "recording",
    "start_seconds",
    "end_seconds",
    "audio_bytes",
    "seconds_decode_audio",
    "seconds_encode",
    "tflops_encode",
)
# what answers are made from
STATE_COLUMNS = (
    "recording",
    "window",
    "start_seconds",
    "end_seconds",
    "num_tokens",
    "peak",
    "states",
    "dtype",
    "width",
    "scales",
    "norms",
    "token_times",
)
