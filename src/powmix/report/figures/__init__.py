"""The paper's figures and ours, drawn with matplotlib from what runs leave on disk; one module per subject."""
