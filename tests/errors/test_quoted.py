from nucleate.errors import LONGEST_QUOTE, quoted, quoted_path


def test_quoted_text_is_one_short_printable_line():
    assert quoted("Si8") == "Si8"
    assert len(quoted("(" * 5000)) == LONGEST_QUOTE
    assert quoted("Si\n8") == r"Si\n8"
    assert quoted("\x1b[31mred").isprintable()
    # A lone surrogate cannot be encoded: SQLite and terminals refuse it.
    assert quoted("\ud800").encode() == rb"\ud800"
    assert quoted(3.5) == "3.5"


def test_deep_and_long_values_are_quoted_without_being_walked():
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    assert len(quoted(nested)) <= LONGEST_QUOTE
    assert len(quoted(list(range(10**6)))) <= LONGEST_QUOTE


def test_a_long_path_keeps_the_name_of_its_file():
    path = "/scratch/" + 50 * "folder/" + "Si.upf"
    assert quoted_path(path).endswith("/Si.upf")
    assert len(quoted_path(path)) <= 200
    assert quoted_path("/tmp/Si\n.upf") == r"/tmp/Si\n.upf"
