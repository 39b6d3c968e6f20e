"""Family trees in the report."""

from nucleate.csp.evolution.ancestry import ancestry
from nucleate.csp.evolution.records import Birth, EvolutionRecord
from nucleate.report.family_figure import places


def test_children_are_to_the_right_of_their_parents():
    births = {
        "1.1": Birth("p1", (), 1), "1.2": Birth("strain", ("1.1",), 1), "1.3": Birth("heredity", ("1.1", "1.2"), 1),
        "4.1": Birth("permutation", ("1.3",), 4),
    }  # fmt: skip
    record = EvolutionRecord(births)
    at = places(ancestry("4.1", record, 5), 0.0)
    assert set(at) == set(births)
    for name, birth in births.items():
        for parent in birth.parents:
            assert at[parent][0] < at[name][0]
    assert at["4.1"][0] == 4
    assert len(set(at.values())) == 4
