"""The same tests on an SQLite file and on a PostgreSQL server."""

import pytest

from tests.shared_ledger.postgres_here import PASSWORD, Postgres, missing


@pytest.fixture(scope="module")
def server():
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    running = Postgres()
    yield running
    running.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path, monkeypatch):
    """Address of an empty shared ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "shared.db")
    server = request.getfixturevalue("server")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS nucleate_labels")
    return server.url
