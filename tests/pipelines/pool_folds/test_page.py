"""Two folds of a leave-one-out experiment, run for real, make one page."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from lesionlab.evaluation.augmentation import Results
from lesionlab.evaluation.folds import mean_counts
from lesionlab.figures import formats
from lesionlab.parameters import merged
from lesionlab.pipelines.pool_folds.folds import Fold, largest


@pytest.fixture(scope="module")
def pooled(project, new_project, tiny):
    """Folds 0 and 1 of four heads, then both together."""
    values = {
        **tiny,
        "splits": {"protocol": "leave_one_out", "validation": 0, "strata": 1},
        "unet": merged(tiny["unet"], {"training": {"best": None, "trained": "last"}}),
        "bias": {"enabled": False},
        "atlas": {"iterations": 0, "affine_iterations": [5], "align": "none"},
    }
    made = new_project("folded", values, project.root / "mlflow.db")
    for fold in (0, 1):
        made.run("--pipelines=cgsamr_augment_eval", f"--params=splits.fold={fold}")
    return made, made.run("--pipelines=cgsamr_pool_folds")


@pytest.fixture(scope="module")
def page(pooled) -> Path:
    return pooled[0].data / "08_reporting" / "cgsamr" / "report.html"


def test_the_page_tells_of_all_folds_and_leads_to_each(pooled, page):
    text = page.read_text(encoding="utf-8")
    assert "tested on 1 subject that none of them has seen in each of 2 folds." in text
    links = re.findall(r'<a href="([^"#]+fold\d[^"]*)">(fold\d)</a>', text)
    assert [name for _, name in links] == ["fold0", "fold1"]
    assert all((page.parent / address).is_file() for address, _ in links)
    assert "2 of 4 subjects were tested in no fold: phantom-03, phantom-04" in pooled[1].stdout + pooled[1].stderr


def test_its_figures_are_means_over_the_subjects_of_all_folds(pooled, page):
    parts = [
        pd.read_parquet(pooled[0].data / f"fold{fold}/07_model_output/cgsamr/segmentation_scores.parquet")
        for fold in (0, 1)
    ]
    scores = pd.concat(parts).query("protocol == 'real' and metric == 'dice' and `class` == 'edema'")
    assert scores["subject"].tolist() == ["phantom-01", "phantom-02"]
    shown = re.search(r"<tr><td>real</td>.*?<b>(\d\.\d+) ", page.read_text(encoding="utf-8"), re.S)
    assert shown and shown[1] == formats.number(scores["value"].mean())


def test_its_pictures_show_those_who_were_left_out(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text(encoding="utf-8"), re.S)
    told = [re.sub("<.*?>", "", caption).strip() for caption in captions]
    for title in (
        "What the segmenters found",
        "All synthesizers on the same label maps",
        "Pixel accuracy",
        "Dice of every",
    ):
        assert any(text.startswith(title) for text in told), told


def test_slices_are_counted_as_the_mean_of_folds_of_which_one_lacks_a_subject(new_slices, new_plan):
    def without_b(studies):
        studies["b"].table["split"] = "validation"

    # Two training subjects of 3 slices, and one of 4: 6 and 4 real slices, and for real+50% as many synthetic ones.
    stores = new_slices("whole"), new_slices("lacking", without_b, planes=4)
    folds = [Fold(f"fold{at}", None, new_plan(store)) for at, store in enumerate(stores)]
    plan = largest(folds[::-1]).plan
    counts = mean_counts([(fold.plan, store) for fold, store in zip(folds, stores, strict=True)], plan)
    assert counts["unet/real/none/2-subjects/seed-0"] == (5, 0)
    assert counts["unet/real+50%/cgsamr/2-subjects/seed-0"] == (5, 5)
    # The pooled tables call both folds' lines by the larger number of subjects.
    assert {line.subjects for line in Results(plan, None, None, None).lines(counts)} == {2}
