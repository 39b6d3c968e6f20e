"""The share of candidates from known crystals: its default, and what a stored search keeps."""

import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nucleate import api
from nucleate.benchmark.trials import trial_settings
from nucleate.campaign import run as campaigns
from nucleate.csp.known_crystals import stored_share, with_share
from nucleate.csp.plan import prepare
from nucleate.csp.resolve import resolve_settings
from nucleate.errors import BadInput, RunFolderError

NOTHING = "LiNaKRbCsF6"
"""Formula of which neither table has an entry."""
SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "generate": {"workers": 1},
    "search": {"pool": 12},
}
ARCHIVES = Path(__file__).with_name("run_folders")


def share_of(formula, **options):
    return with_share(resolve_settings(formula, **options)).generate.prototype_share


@pytest.fixture
def plans(monkeypatch):
    """The plans of searches, none of which runs."""
    found = []

    def stop(folder, plan, executor, progress):
        found.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("nucleate.api.run_search", stop)
    return found


def started(**options):
    with pytest.raises(KeyboardInterrupt):
        api.search("Cu2", settings=SETTINGS, **options)


def origins(plan, number=20):
    return Counter(candidate.origin for candidate in plan.space.propose(number, np.random.default_rng(0), False))


# The default


@pytest.mark.parametrize("formula", ["Al2O3", "Al4O6", "Al5O7", "Si8"])
def test_a_formula_with_known_crystals(formula):
    assert share_of(formula) == 0.2


@pytest.mark.parametrize("system", ["Mg-Si", "MgO-Al2O3"])
def test_a_chemical_system(system):
    assert share_of(system, hull__max_atoms=6) == 0.2
    # A distance between two elements fits those cells alone that contain both.
    assert share_of(system, hull__max_atoms=6, generate__min_distance={"Mg-O" if "O" in system else "Mg-Si": 1.5}) == 0.2


def test_nothing_changes_without_known_crystals(caplog):
    plain = resolve_settings(NOTHING, generate__workers=1)
    assert with_share(plain).generate.prototype_share == 0.0
    made, before = (
        prepare(settings).space.propose(5, np.random.default_rng(0), False)
        for settings in (with_share(plain), resolve_settings(settings=plain, generate__prototype_share=0.0))
    )
    assert [candidate.atoms for candidate in made] == [candidate.atoms for candidate in before]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    "given",
    [
        {"formula": "MoS2", "dimensions": 2},
        {"formula": "Na4Cl4", "dimensions": 0},
        {"formula": "H2O", "molecules": {"molecule": [{"source": "O", "atoms": ["O", "H", "H"]}]}},
        {"formula": "Al4O6", "generate": {"space_groups": [167]}},
    ],
    ids=["layers", "clusters", "molecules", "space groups"],
)
def test_other_searches_do_not_read_the_tables(given, monkeypatch):
    def unexpected(counts, settings):
        raise AssertionError("the tables are read")

    monkeypatch.setattr("nucleate.csp.known_crystals.has_known_crystals", unexpected)
    molecules = given.pop("molecules", None)
    settings = resolve_settings(settings=given)
    if molecules is not None:
        settings = settings.model_copy(update={"molecules": settings.molecules.model_copy(update=molecules)})
    stored = with_share(settings)
    assert stored.generate.prototype_share == 0.0
    if molecules is None:
        # The stored share is not refused.
        prepare(resolve_settings(settings=stored))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_stated_share_is_kept(share):
    assert share_of("Al4O6", generate__prototype_share=share) == share
    assert share_of(NOTHING, generate__prototype_share=share) == share


def test_a_stated_share_is_refused_as_before(tmp_path):
    with pytest.raises(BadInput, match="leave prototypes out with --no-prototypes"):
        api.search(NOTHING, settings={**SETTINGS, "reference": {"engine": "chgnet"}}, prototypes=True, out=tmp_path / "run")
    with pytest.raises(BadInput, match=r"generate\.prototype_share has no effect on layers"):
        api.search("Cu2", settings=SETTINGS, dimensions=2, prototypes=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_benchmarks_are_without_known_crystals():
    assert trial_settings("Al4O6", "chgnet", 1, 10, {}).generate.prototype_share == 0.0
    assert trial_settings("Al4O6", "chgnet", 1, 10, {"generate": {"prototype_share": 0.2}}).generate.prototype_share == 0.2


# What a search stores


def test_a_new_search_stores_its_share(plans, tmp_path):
    started(out=tmp_path / "run")
    assert stored_share(tmp_path / "run" / "run.toml") == plans[0].settings.generate.prototype_share == 0.2
    assert {"prototype", "wyckoff"} <= set(origins(plans[0]))


def test_a_stored_share_does_not_follow_the_default(plans, tmp_path, monkeypatch):
    started(out=tmp_path / "run")
    monkeypatch.setattr("nucleate.csp.known_crystals.PROTOTYPE_SHARE", 0.5)
    with pytest.raises(KeyboardInterrupt):
        api.resume(tmp_path / "run")
    # The same command goes on with the search that the folder contains.
    started(out=tmp_path / "run")
    assert [plan.settings.generate.prototype_share for plan in plans] == [0.2, 0.2, 0.2]


def test_a_search_that_was_stored_without_known_crystals_stays_without(plans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started(prototypes=False)
    with pytest.raises(KeyboardInterrupt):
        api.resume("Cu2")
    started(out="Cu2")
    started()
    assert [plan.settings.generate.prototype_share for plan in plans] == [0.0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["Cu2"]
    assert not {"prototype", "wyckoff"} & set(origins(plans[-1]))
    with pytest.raises(RunFolderError, match="other settings"):
        api.search("Cu2", settings=SETTINGS, prototypes=True, out="Cu2")


@pytest.mark.parametrize(("layout", "share"), [("layout1", None), ("layout2", 0.0)])
def test_a_search_of_an_earlier_version_stays_without(layout, share, plans, tmp_path):
    with tarfile.open(ARCHIVES / f"{layout}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / layout
    assert stored_share(folder / "run.toml") == share
    with pytest.raises(KeyboardInterrupt):
        api.resume(folder, budget=100)
    assert not {"prototype", "wyckoff"} & set(origins(plans[0]))


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_campaign_keeps_the_share_with_which_it_began(share, tmp_path, monkeypatch):
    shares = []

    class Leader:
        def __init__(self, folder, members, number, share, executor, progress):
            shares.append(share)
            self.failures = {}

        def run(self, share_labels):
            pass

    monkeypatch.setattr(campaigns, "_Leader", Leader)
    monkeypatch.setattr(campaigns, "summarise", lambda *given: None)
    campaigns.campaign(["Cu2"], settings=SETTINGS, out=tmp_path / "new")
    before = {**SETTINGS, "generate": {"workers": 1, "prototype_share": share}}
    campaigns.campaign(["Cu2"], settings=before, out=tmp_path / "before")
    campaigns.campaign(["Cu2"], settings=SETTINGS, out=tmp_path / "before")
    assert shares == [0.2, share, share]
    with pytest.raises(RunFolderError, match="other settings"):
        campaigns.campaign(["Cu2"], settings=SETTINGS, prototypes=True, out=tmp_path / "before")
    shutil.copy(tmp_path / "new" / "campaign.toml", tmp_path / "settings.toml")
    assert stored_share(tmp_path / "settings.toml") == 0.2


def test_a_file_without_a_share(tmp_path):
    path = tmp_path / "run.toml"
    assert stored_share(path) is None
    for text in ("[generate]\nworkers = 1\n", '[generate]\nprototype_share = "unset"\n', "generate = 3\n", "[[[\n"):
        path.write_text(text)
        assert stored_share(path) is None
