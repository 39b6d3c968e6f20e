"""An address that cannot work is refused in one line, and no password is printed or written."""

import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.reference.shared.address import read_address

WRONG = {
    "": "the address is empty",
    "mysql://u@h/x": "kind 'mysql'",
    "postgresql+asyncpg://u@h/x": "the driver of postgresql is",
    "postgresql://u:geheim@h/x": "contains a password",
    "postgresql://u@h/x?password=geheim": "contains a password",
    "postgresql://u:geheim@/": "contains a password",
    "postgresql://u@h/x?sslpassword=geheim": "contains a password",
    "sqlite:///labels.db": "the path is relative",
    "/nowhere/labels.db": "there is no such folder",
    "postgresql://u@h": "names no database",
    "sqlite://": "names no database",
    "sqlite:////tmp/x.db?mode=ro": "the path of an SQLite file alone",
    "http:": "not the URL of a database",
    "postgresql://u:geheim@h:port/x": "not the URL of a database",
}


@pytest.mark.parametrize("address", WRONG)
def test_a_wrong_address_is_refused_before_a_folder_exists(address, tmp_path):
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["search", "Cu2", "--reference", "chgnet", "--ledger", address, "--out", str(out)])
    said = str(done.exception) if done.exception is not None and not isinstance(done.exception, SystemExit) else done.output
    assert done.exit_code != 0
    assert WRONG[address] in said
    assert "geheim" not in said
    assert not out.exists()


@pytest.mark.parametrize("content", [b"no database", b""], ids=["text", "empty"])
def test_a_file_that_is_no_database(content, tmp_path):
    """An empty file is an empty database; anything else is refused."""
    path = tmp_path / "labels.db"
    path.write_bytes(content)
    from nucleate.errors import StorageFailed
    from nucleate.reference.shared.ledger import SharedLedger

    if not content:
        SharedLedger(str(path)).close()
        return
    with pytest.raises(StorageFailed, match="not a database"):
        SharedLedger(str(path))
    assert path.read_bytes() == content


def test_the_password_is_that_of_the_environment(server, monkeypatch):
    from nucleate.errors import StorageFailed
    from nucleate.reference.shared import ledger

    monkeypatch.setattr(ledger, "PATIENCE", ())
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(StorageFailed, match="password"):
        ledger.SharedLedger(server.url)
    assert read_address(server.url).password is None
