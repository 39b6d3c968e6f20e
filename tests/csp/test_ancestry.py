from nucleate.csp.evolution.ancestry import ancestry
from nucleate.csp.evolution.records import Birth, EvolutionRecord

RECORD = EvolutionRecord(
    {
        "1.1": Birth("symmetric", (), 1), "1.2": Birth("p1", (), 1), "1.3": Birth("symmetric", (), 1),
        "2.1": Birth("strain", ("1.1",), 2), "2.2": Birth("heredity", ("1.1", "1.2"), 2),
        "3.1": Birth("heredity", ("2.1", "2.2"), 3), "4.1": Birth("heredity", ("3.1", "1.3"), 4),
    }
)  # fmt: skip


def test_all_ancestors_once_and_children_between_their_parents():
    tree = {each.name: each for each in ancestry("4.1", RECORD, 9)}
    assert set(tree) == set(RECORD.births)
    assert {name: each.generation for name, each in tree.items()} == {"4.1": 0, "3.1": 1, "1.3": 1, "2.1": 2, "2.2": 2, "1.1": 3, "1.2": 3}
    # No two candidates of one generation are drawn at one place.
    assert len({(each.generation, each.row) for each in tree.values()}) == len(tree)
    rows = {name: each.row for name, each in tree.items()}
    for name in ("4.1", "3.1", "2.2"):
        parents = [rows[parent] for parent in RECORD.births[name].parents]
        assert min(parents) <= rows[name] <= max(parents)


def test_generations_are_limited_and_unknown_candidates_have_no_tree():
    assert {each.name for each in ancestry("4.1", RECORD, 1)} == {"4.1", "3.1", "1.3"}
    assert ancestry("", RECORD, 3) == []
    assert [each.name for each in ancestry("1.1", RECORD, 3)] == ["1.1"]
