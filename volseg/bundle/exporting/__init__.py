"""A trained bundle for others: as ONNX, as an exported program of torch's, or as a MONAI bundle without volseg."""
