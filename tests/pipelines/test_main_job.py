"""The main job, from raw heads to the report: what it leaves, and that no test subject was seen before its time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from lesionlab.metrics.statistics import TABLE_COLUMNS
from lesionlab.slices.batches import Slices
from lesionlab.slices.store import SliceStore
from lesionlab.stages.subject_store import SubjectStore
from lesionlab.training.runs import TrainingRun

CLASSES = ["edema", "cavity", "tumor"]
PROTOCOLS = ["real", "real+25%", "real+50%"]
SUBJECTS = [f"phantom-0{number}" for number in (1, 2, 3, 4)]
TRIAL, OF = "cgsamr", "2-subjects/seed-0"  # the trial, and its one set of subjects and seed
STAGES = ["coregister", "brain", "bias", "standardize", "grid", "atlas", "tissues"]


@pytest.fixture(scope="module")
def data(project) -> Path:
    return project.data


@pytest.fixture(scope="module")
def split(data) -> dict[str, str]:
    """Subject to split, as it was written down."""
    return dict(pd.read_csv(data / "02_intermediate" / "split.csv")[["subject", "split"]].itertuples(index=False))


@pytest.fixture(scope="module")
def training(split) -> set[str]:
    return {subject for subject, where in split.items() if where == "train"}


@pytest.fixture(scope="module")
def slices(data) -> SliceStore:
    return SliceStore(data / "04_feature" / "slices")


@pytest.fixture(scope="module")
def synthetic(data) -> SliceStore:
    return SliceStore(data / "04_feature" / "synthetic" / "cgsamr" / OF)


@pytest.fixture(scope="module")
def tables(data) -> dict[str, pd.DataFrame]:
    folder = data / "08_reporting" / TRIAL / "tables"
    return {name: pd.read_csv(folder / f"{name}.csv") for name in ("augmentation", "synthesis", "segmentation")}


def store(data: Path, stage: str) -> SubjectStore:
    return SubjectStore(data / "03_primary" / stage)


# --- cohort and split -------------------------------------------------------------------------------------------------


def test_cohort_and_split(data, split):
    cohort = pd.read_parquet(data / "02_intermediate" / "cohort.parquet")
    assert len(cohort) == 4 * 2
    assert sorted(split) == SUBJECTS
    assert sorted(split.values()) == ["test", "train", "train", "validation"]
    assert dict(zip(cohort["subject"], cohort["split"], strict=True)) == split
    assert pd.read_csv(data / "02_intermediate" / "quarantine.csv").empty


# --- preprocess -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_whole_and_has_every_subject(data, stage):
    assert store(data, stage).complete()
    assert store(data, stage).studies() == SUBJECTS


@pytest.mark.parametrize("stage", ["brain", "bias", "standardize", "grid"])
def test_outside_the_brain_every_image_is_0(data, stage):
    for subject in SUBJECTS:
        volumes = store(data, stage).volumes(subject)
        outside = volumes["brain"].data == 0
        assert outside.any() and not outside.all()
        for name in ("T1w", "FLAIR"):
            assert not volumes[name].data[outside].any()
            assert volumes[name].data[~outside].any()


def test_standardized_values_share_one_scale(data):
    # Percentiles 1 and 99 of each brain go to 0.05 and 0.8 on average over the training subjects; the raw gains of the
    # heads differ by a factor of up to 900 / 250.
    medians = []
    for subject in SUBJECTS:
        volumes = store(data, "standardize").volumes(subject)
        inside = volumes["T1w"].data[volumes["brain"].data > 0]
        assert inside.min() > 0 and inside.max() <= 1
        medians.append(np.median(inside))
    assert max(medians) < 1.3 * min(medians)


def test_the_grid_and_the_lesions_on_it(data):
    for subject in SUBJECTS:
        volumes = store(data, "grid").volumes(subject)
        assert {volume.shape[:2] for volume in volumes.values()} == {(32, 40)}
        assert volumes["lesion"].spacing[:2] == pytest.approx((6.0, 6.0))
        assert set(np.unique(volumes["lesion"].data)) <= {0, 2, 3, 4}
        assert volumes["lesion"].data.any()


def test_the_lesions_volume_survives_the_way_to_the_grid(data):
    cohort = pd.read_parquet(data / "02_intermediate" / "cohort.parquet").drop_duplicates("study").set_index("study")
    for subject in SUBJECTS:
        lesion = store(data, "grid").volume(subject, "lesion")
        found = np.count_nonzero(lesion.data) * lesion.voxel_ml
        assert found == pytest.approx(cohort.loc[subject, "lesion_ml"], rel=0.15)


def test_the_template_is_made_of_training_subjects_alone(data, training):
    template = store(data, "template")
    assert set(template.record("template")["studies"]) == training
    assert template.names("template") == ["FLAIR", "T1w"]


def test_tissues_are_off(data):
    assert all(store(data, "tissues").names(subject) == [] for subject in SUBJECTS)


def test_quality_measures(data):
    measures = pd.read_csv(data / "08_reporting" / "qc" / "measures.csv")
    assert list(measures) == ["study", "subject", "stage", "measure", "value"]
    assert set(measures["stage"]) == set(STAGES) - {"tissues"}
    for stage, rows in measures.groupby("stage"):
        assert sorted(rows["study"].unique()) == SUBJECTS, stage


def test_truth(data, split):
    truth = pd.read_csv(data / "08_reporting" / "qc" / "truth.csv")
    assert list(truth) == ["stage", "subject", "measure", "value"]
    assert np.isfinite(truth["value"]).all()
    subjects = {stage: sorted(rows["subject"].unique()) for stage, rows in truth.groupby("stage")}
    tested = [subject for subject, where in split.items() if where == "test"]
    every = dict.fromkeys(["coregister", "brain", "bias"], SUBJECTS)
    assert subjects == every | {"atlas": tested, "standardize": ["all"]}
    # The brain is the true one.
    assert truth.loc[truth["stage"] == "brain", "value"].tolist() == [1.0] * 4


def test_coregistration_comes_nearer_to_the_truth_than_doing_nothing(data):
    truth = pd.read_csv(data / "08_reporting" / "qc" / "truth.csv")
    phantom = SubjectStore(data / "01_raw" / "phantom")
    left, given = [], []
    for subject in SUBJECTS:
        rows = truth[(truth["subject"] == subject) & (truth["measure"] == "tre_mm_FLAIR")]
        left.append(rows["value"].item())
        brain = phantom.volume(subject, "truth/brain")
        points = np.argwhere(brain.data > 0) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
        true = np.array(phantom.record(subject)["transforms"]["FLAIR"])
        given.append(np.linalg.norm(points @ true[:3, :3].T + true[:3, 3] - points, axis=1).mean())
    assert np.mean(left) < 0.5 * np.mean(given)


# --- slices -----------------------------------------------------------------------------------------------------------


def test_slices(slices, split):
    table = slices.table
    assert len(table) == 4 * 6 and (table.groupby("subject")["plane"].nunique() == 6).all()
    assert dict(zip(table["subject"], table["split"], strict=True)) == split
    real = slices.batch()
    assert real.images.shape == (24, 2, 40, 32) and real.atlas.shape == (24, 6, 40, 32)
    assert real.tissues.shape == (24, 0, 40, 32)
    assert real.images.min() == -1 and real.images.max() <= 1
    outside = real.labels == 0
    assert (real.images.transpose(1, 0, 2, 3)[:, outside] == -1).all()
    for code, name in enumerate(CLASSES, start=2):
        assert (real.labels == code).sum(axis=(1, 2)).tolist() == table[f"pixels_{name}"].tolist()


# --- models and synthetic slices --------------------------------------------------------------------------------------


def test_synthetic_slices_come_from_training_subjects_alone(synthetic, training):
    assert len(synthetic) == 12  # as many as real training slices: 2 subjects of 6
    assert set(synthetic.table["subject"]) <= training
    assert set(synthetic.table["donor"]) - {""} <= training
    records = [json.loads(record) for record in synthetic.table["record"]]
    assert {record["target"]["subject"] for record in records} <= training
    assert {record["donor"]["subject"] for record in records if record["donor"]} <= training
    assert set(synthetic.table["source"]) == {"synthetic"}


def test_synthetic_slices_are_what_the_generator_draws_for_their_label_maps(data, synthetic):
    method = cgsamr(data).method()
    made = synthetic.batch()
    drawn = method.synthesize(Slices.from_arrays(labels=made.labels, atlas=made.atlas).all()).numpy()
    inside = np.broadcast_to(made.labels[:, None] > 0, drawn.shape)
    np.testing.assert_allclose(made.images[inside], drawn[inside], atol=1e-5)
    assert (made.images[~inside] == -1).all()


def cgsamr(data: Path) -> TrainingRun:
    return TrainingRun(data / "06_models" / "synthesizers" / "cgsamr" / OF)


def unets(data: Path) -> dict[str, TrainingRun]:
    root = data / "06_models" / "segmenters" / "unet"
    return {p: TrainingRun(root / p / ("none" if p == "real" else "cgsamr") / OF) for p in PROTOCOLS}


def test_trainings(data, slices):
    assert cgsamr(data).method().name == "cgsamr" and cgsamr(data).history()["step"].max() == 4
    assert sorted(path.name for path in (data / "06_models" / "segmenters" / "unet").iterdir()) == PROTOCOLS
    judged = slices.table[slices.table["split"] == "validation"]
    held = {name for name in CLASSES if judged[f"pixels_{name}"].any()}
    for run in unets(data).values():  # as many steps each, and Dice of the classes that validation slices hold
        history = run.history()
        assert history["step"].max() == 4
        curves = {name for name in history["name"] if name.startswith("validation/")}
        assert held and curves == {"validation/dice", *(f"validation/dice_{name}" for name in held)}


def test_every_training_wrote_down_whom_it_learnt_from(data, training):
    for run in (cgsamr(data), *unets(data).values()):
        assert set(run.subjects()) == training


def test_whom_everything_has_seen_is_told(data, training):
    table = pd.read_csv(data / "08_reporting" / TRIAL / "leakage.csv")
    places = {"intensity landmarks", "atlas", f"synthesizer cgsamr/{OF}", f"synthetic slices cgsamr/{OF}"}
    places |= {f"segmenter unet/{p}/{'none' if p == 'real' else 'cgsamr'}/{OF}" for p in PROTOCOLS}
    learnt, chosen = (table[table["purpose"] == purpose] for purpose in ("learns", "chooses"))
    assert set(learnt["place"]) == places and set(table["test"]) == {0}
    assert set(learnt["subjects"]) == {2} and set(learnt["names"]) == {" ".join(sorted(training))}
    trained = [place for place in learnt["place"] if place.startswith(("synthesizer", "segmenter"))]
    assert chosen["place"].tolist() == [f"checkpoint of {place}" for place in trained]
    assert set(chosen["subjects"]) == {1}


def test_protocols_differ(data):
    weights = [next(iter(run.method().parameters())).detach().numpy() for run in unets(data).values()]
    assert not np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[1], weights[2])


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["augmentation", "synthesis", "segmentation"])
def test_tables_have_their_columns_and_lie_there_in_three_forms(data, tables, name):
    assert list(tables[name]) == TABLE_COLUMNS
    assert set(tables[name]["cohort"]) == {"tiny"} and set(tables[name]["seed"]) == {0}
    assert set(tables[name]["training_subjects"]) == {2}
    assert set(tables[name]["n"]) == {1} and tables[name]["p_value"].isna().all()  # one test subject
    folder = data / "08_reporting" / TRIAL / "tables"
    rows = len(tables[name])
    markdown = (folder / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert len(markdown) == rows + 2 and all(line.startswith("| ") for line in markdown)
    assert (folder / f"{name}.tex").read_text(encoding="utf-8").count(r"\\") == rows + 1


def test_augmentation_table(tables):
    table = tables["augmentation"]
    # 3 protocols x (3 classes and their union) x 7 metrics
    assert len(table) == 3 * 4 * 7
    assert list(table["protocol"].unique()) == PROTOCOLS and set(table["method"]) == {"unet"}
    assert set(table["class"]) == {*CLASSES, "lesion"} and set(table["sequence"]) == {"all"}
    assert dict(zip(table["protocol"], table["synthesizer"], strict=True)) == {
        "real": "none", "real+25%": "cgsamr", "real+50%": "cgsamr",
    }  # fmt: skip
    published = table[table["metric"] == "dice"].set_index(["protocol", "class"])["published"]
    assert published["real", "edema"] == 0.647 and published["real+50%", "tumor"] == 0.835
    assert np.isnan(published["real", "lesion"])


def test_segmentation_table_and_its_floors(tables, slices):
    table = tables["segmentation"]
    assert len(table) == 3 * 4 * 7
    named = list(table[["method", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
    assert named == [("unet", "real"), ("all tumor", "floor"), ("all normal", "floor")]
    means = table.set_index(["method", "class", "metric"])["mean"]
    labels = slices.batch(slices.select(split="test")).labels
    brain, tumor, lesion = (int(np.count_nonzero(labels >= code)) for code in (1, 4, 2))  # 4 is the highest code
    # The whole brain called tumor: 2 |T| / (|B| + |T|); everything there is found, of what is called tumor few are.
    assert means["all tumor", "tumor", "dice"] == pytest.approx(2 * tumor / (brain + tumor))
    assert means["all tumor", "lesion", "dice"] == pytest.approx(2 * lesion / (brain + lesion))
    assert means["all tumor", "tumor", "sensitivity"] == 1 and means["all tumor", "edema", "missed"] == 1
    assert means["all tumor", "tumor", "precision"] == pytest.approx(tumor / brain)
    assert means["all normal", "lesion", "dice"] == 0 and means["all normal", "lesion", "missed"] == 1
    assert means["all normal", "lesion", "specificity"] == 1


def test_synthesis_table(tables, slices):
    table = tables["synthesis"]
    named = list(table[["method", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
    assert named == [("cgsamr", "paired"), ("mean image", "floor"), ("atlas", "floor")]
    labels = slices.batch(slices.select(split="test")).labels
    present = [name for code, name in enumerate(CLASSES, start=2) if (labels == code).any()]
    # 3 methods x 2 sequences x (accuracy in each class there is, in all lesions, in the brain; SSIM and PSNR twice)
    images = table[~table["metric"].str.startswith("confidence")]
    assert len(images) == 3 * 2 * (len(present) + 2 + 4)
    # Of CG-SAMR alone: rank correlation and AUSE by sequence, in the picture, the brain and the lesion.
    confidence = table[table["metric"].str.startswith("confidence")]
    assert len(confidence) == 2 * 2 * 3 and set(confidence["method"]) == {"cgsamr"}
    scored = table[table["metric"] == "pixel_accuracy"].groupby("class")["mean"]
    assert set(scored.groups) == {*present, "lesion", "brain"}
    assert table.loc[table["metric"] == "pixel_accuracy", "mean"].between(0, 1).all()


def test_the_mean_image_is_the_training_subjects(tables, slices):
    mean = slices.images()[slices.select(split="train")].mean(axis=0)
    real = slices.batch(slices.select(split="test"))
    black_outside = np.where(real.labels > 0, mean[1], -1.0)
    error = np.mean((real.images[:, 1].astype(float) - black_outside) ** 2)
    rows = tables["synthesis"].set_index(["method", "sequence", "class", "metric"])["mean"]
    assert rows["mean image", "FLAIR", "image", "psnr"] == pytest.approx(10 * np.log10(4 / error), abs=1e-3)


# --- pages ------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page fetches, what it holds, what it says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value]
        (self.links if tag == "a" else self.fetched).extend(found)

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("style", "script"):
            self.text += data


@pytest.mark.parametrize("page", [f"{TRIAL}/report.html", "qc/index.html", "cohort/index.html"])
def test_pages_fetch_nothing_but_what_lies_beside_them(data, page):
    path = data / "08_reporting" / page
    made = Page(path)
    beside = [address for address in made.fetched if not address.startswith("data:")]
    assert all((path.parent / address).is_file() for address in beside)
    assert len(beside) == (4 if page.startswith("qc") else 0)  # a strip for each study
    links = [link for link in made.links if not link.startswith("#")]
    assert links == (["../qc/index.html"] if page.startswith(TRIAL) else [])
    assert all((path.parent / link).is_file() for link in links)
    assert not re.search(r"@import|url\((?!['\"]?data:)", made.html)
    assert made.tags.count("img") >= (0 if page.startswith("cohort") else 4)
    assert "NaN" not in made.text and not re.search(r"None(?! of the)", made.text)


def test_the_report_says_what_was_done(data):
    text = " ".join(Page(data / "08_reporting" / TRIAL / "report.html").text.split())
    numbers = ("2 / 1 / 1", "2 sequences", "8 scans", "32 × 40 pixels of 6.0 mm", "24 slices", "12 slices")
    for said in (*numbers, "rigid, to T1w", "4 steps, batch 4", *PROTOCOLS, "cohort fingerprint"):
        assert said in text, said
    assert "real+25%126" in text and "real+50%1212" in text  # real and synthetic training slices
    assert "Atropos" not in text  # the stage is off


def test_the_quality_page_has_every_subject(data):
    page = Page(data / "08_reporting" / "qc" / "index.html")
    assert page.tags.count("article") == 4
    assert all(subject in page.text for subject in SUBJECTS)


# --- MLflow -----------------------------------------------------------------------------------------------------------


def test_the_run_is_recorded(project, data, tables):
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lesionlab")
    run = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])[0]
    assert run.info.status == "FINISHED" and run.info.run_name == "cgsamr_augment_eval (tiny)"
    assert run.data.params["splits.test"] == "1" and run.data.params["cgsamr.generator.width"] == "2"
    assert re.fullmatch("[0-9a-f]{32}", run.data.tags["cohort_fingerprint"])
    dice = tables["augmentation"].query("protocol == 'real+25%' and metric == 'dice'").set_index("class")["mean"]
    assert run.data.metrics["unet/real_25_/cgsamr/2/all/edema/dice"] == pytest.approx(dice["edema"])
    assert {"seconds/coregister", "seconds/cgsamr.train_segmenters"} <= set(run.data.metrics)
    steps = [entry.step for entry in client.get_metric_history(run.info.run_id, f"synthesizers/cgsamr/{OF}/G/total")]
    assert steps == [1, 2, 3, 4]
    kept = project.root / "mlartifacts" / run.info.run_id / "artifacts"
    assert (kept / TRIAL / "report.html").read_bytes() == (data / "08_reporting" / TRIAL / "report.html").read_bytes()
    assert (kept / TRIAL / "tables" / "augmentation_table.csv").is_file() and (kept / "qc" / "index.html").is_file()
    assert list((kept / "images" / "synthesizers" / "cgsamr" / OF).glob("montage-*.png"))
