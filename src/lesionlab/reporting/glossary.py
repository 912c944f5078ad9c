"""What the words of tables mean."""

from __future__ import annotations

from collections.abc import Mapping

GLOSSARY: Mapping[str, str] = {
    "Dice": "Overlap of the predicted and the true lesion: twice the shared volume over the sum of both. 1 is perfect, "
    "0 is no overlap. A lesion missed or invented counts 0; where neither has one, 1.",
    "HD95": "How far, in mm, the predicted border lies from the true one, leaving out the worst 5 %. Smaller is "
    "better. A lesion missed or invented counts as the diagonal of the volume.",
    "Sensitivity": "The share of true lesion that was found.",
    "Precision": "The share of what was predicted that is true lesion.",
    "missed, invented": "The share of patients in whom a lesion of the class was overlooked entirely, or predicted "
    "where there is none.",
    "Specificity": "The share of the rest that was rightly left alone. Lesions are small, so it is always near 1.",
    "Pixel accuracy": "The share of pixels, within a lesion class, whose synthetic intensity lies within 16 of 255 "
    "gray levels of the real one.",
    "SSIM": "Structural similarity of two images: 1 where they are the same.",
    "PSNR": "Peak signal-to-noise ratio in dB: the larger, the closer the synthetic image is to the real one.",
    "Confidence": "The synthesizer's own estimate, pixel by pixel, of how right it is. Pictures show 1 − c, so that "
    "bright means unsure.",
    "ci_low, ci_high": "Bounds of the 95 % bootstrap confidence interval of the mean, over patients and, with several "
    "seeds, over trainings: both are drawn anew, independently of each other.",
    "p_value": "Probability of a difference at least this large if there were none, given these trainings: Wilcoxon's "
    "signed-rank test on paired patients, means over seeds, corrected by Holm for the comparisons of the same cohort, "
    "number of training subjects, measure and class.",
    "seed_low, seed_high": "The least and the greatest difference among trainings that differ in their seed alone.",
    "rank_biserial": "Effect size of that test: 1 where the value of every patient rose against the line compared "
    "with, −1 where every one fell, 0 where both balance.",
    "seed_std": "Standard deviation of the mean over trainings that differ in their seed alone: what chance does to a "
    "training, of which p_value knows nothing.",
    "published": "What the paper reports for the same quantity, on its own patients. Not comparable number by number: "
    "other people, scanners and lesions.",
}
