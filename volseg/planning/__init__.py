"""From a cohort's fingerprint to a recipe: every choice with its reason, none of them torch's business."""
