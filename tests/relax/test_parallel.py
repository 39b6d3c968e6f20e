"""Relaxations in several processes: the same results as in one, in order, and no worker outlives the call that was interrupted."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from nucleate.potentials.families import family_settings
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.registry import make_model
from nucleate.potentials.settings import ModelSettings
from nucleate.progress import Step
from nucleate.relax import parallel
from nucleate.relax.batched import relax
from nucleate.relax.parallel import RelaxPool, make_chunks
from nucleate.relax.settings import RelaxSettings


@pytest.fixture(scope="module")
def committee():
    return ManyBodyCommittee((8, 12), ModelSettings(members=2, channels=4, hidden=8, radial=4), dtype=torch.float64)


@pytest.fixture(scope="module")
def starts(make_crystal):
    rng = np.random.default_rng(0)
    sizes = ((1, 1), (2, 1), (1, 3), (2, 2), (1, 1), (3, 2), (2, 4), (1, 2))
    return [make_crystal(rng, ["Mg"] * n + ["O"] * m, volume=12) for n, m in sizes]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK_ATOMS", 8)
    monkeypatch.setattr(parallel, "WORTH_A_POOL", 0)


def alive(seconds=10.0):
    """Return the number of worker processes that are left after some time."""
    deadline = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(multiprocessing.active_children())


def test_chunks_hold_every_structure_once_and_only_similar_sizes(starts):
    chunks = make_chunks(starts, 8)
    assert sorted(k for chunk in chunks for k in chunk) == list(range(len(starts)))
    sizes = [[len(starts[k]) for k in chunk] for chunk in chunks]
    assert all(sum(chunk) <= 8 for chunk in sizes)
    assert [n for chunk in sizes for n in chunk] == sorted((len(atoms) for atoms in starts), reverse=True)
    assert make_chunks(starts[:1], 1) == [[0]]
    assert make_chunks([], 8) == []


def test_results_do_not_depend_on_the_number_of_processes(committee, starts, small_chunks):
    settings = RelaxSettings(max_steps=15)
    steps = []
    alone = RelaxPool(1).relax(starts, committee, settings, 2.0, steps.append)
    assert steps[-1] == Step("relaxing", len(starts), len(starts))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    together = relax(starts, committee, settings, 2.0)
    with RelaxPool(2) as pool:
        heard = []
        # The second call has a model of another family, which the same workers must use.
        network = make_model("schnet", committee.species, family_settings("schnet", {"members": 2}), 0, torch.float64)
        first, second = pool.relax(starts, committee, settings, 2.0, heard.append), pool.relax(starts, network, settings)
        workers = len(multiprocessing.active_children())
    assert workers == 2
    assert alive() == 0
    assert heard[-1] == Step("relaxing", len(starts), len(starts))
    for one, two in zip(RelaxPool(1).relax(starts, network, settings), second, strict=True):
        assert (one.energy, one.steps) == (two.energy, two.steps)
    for one, two, batched, begin in zip(alone, first, together, starts, strict=True):
        assert (one.energy, one.sigma, one.fmax, one.stop, one.steps) == (two.energy, two.sigma, two.fmax, two.stop, two.steps)
        assert np.array_equal(one.atoms.positions, two.atoms.positions)
        assert np.array_equal(one.atoms.numbers, begin.numbers)
        assert one.energy == pytest.approx(batched.energy, abs=1e-6)


def test_small_jobs_start_no_process(committee, starts):
    with RelaxPool(2) as pool:
        assert len(pool.relax(starts, committee, RelaxSettings(max_steps=2))) == len(starts)
        assert multiprocessing.active_children() == []


# Python's own pool trips over calls that were cancelled while a result was on its way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_workers_end_with_an_interrupt_and_lost_workers_cost_no_result(committee, starts, small_chunks):
    pool = RelaxPool(2)
    short = RelaxSettings(max_steps=2)
    pool.relax(starts, committee, short)
    assert len(multiprocessing.active_children()) == 2
    endless = RelaxSettings(max_steps=10**6, fmax=1e-12, smax=1e-12, patience=10**6)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        pool.relax(starts, committee, endless)
    assert alive() == 0
    # The pool starts new workers when it is used again.
    assert len(pool.relax(starts, committee, short)) == len(starts)
    for process in multiprocessing.active_children():
        process.kill()
    assert len(pool.relax(starts, committee, short)) == len(starts)
    assert pool.workers == 1
    pool.close()
    assert alive() == 0


def test_a_script_without_guard_relaxes_in_its_own_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from ase.build import bulk\nfrom nucleate.potentials.manybody import ManyBodyCommittee\n"
        "from nucleate.relax import parallel\nfrom nucleate.relax.settings import RelaxSettings\n"
        "parallel.WORTH_A_POOL, parallel.CHUNK_ATOMS = 0, 2\n"
        "ends = parallel.RelaxPool(2).relax([bulk('Si')] * 3, ManyBodyCommittee((14,)), RelaxSettings(max_steps=1))\n"
        "print(len(ends), 'relaxed')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # The script ran once: its workers ended before they repeated the calculation.
    assert done.stdout.split() == ["3", "relaxed"]
    assert "__main__" in done.stderr
