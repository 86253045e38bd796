"""The M-SENA feature file: a dict of splits, each a dict of these keys.

text (N, Lt, Dt) dense features; text_bert (N, 3, Lt) token ids, attention mask, token types; audio (N, La, Da);
vision (N, Lv, Dv); audio_lengths, vision_lengths N integers; regression_labels N numbers; id, raw_text N strings.
"""

SPLITS = ("train", "valid", "test")
MODALITIES = ("text", "audio", "vision")
REQUIRED = ("audio", "vision", "regression_labels", "id")
LENGTHS = {"audio": "audio_lengths", "vision": "vision_lengths"}
KEYS = (
    "raw_text", "id", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths", "regression_labels",
    "regression_labels_T", "regression_labels_A", "regression_labels_V", "classification_labels", "annotations",
)  # fmt: skip
