"""Names of registered models without MLflow."""

from __future__ import annotations

from pathlib import Path

from whc.registry.location import Location
from whc.registry.names import registered_names


def test_the_names_that_mlflow_has_registered(location: Location) -> None:
    from whc.registry import store

    assert registered_names(location) == []
    client = store.connect(location)
    for name in ("whc_m", "smile_p"):
        client.create_registered_model(name)
    assert registered_names(location) == ["smile_p", "whc_m"]


def test_a_folder_may_have_any_name(location: Location, tmp_path: Path) -> None:
    from whc.registry import store

    store.connect(location).create_registered_model("whc_m")
    odd = tmp_path / "50%41?b #c"
    odd.mkdir()
    (location.database).rename(odd / "mlflow.db")
    assert registered_names(Location(database=odd / "mlflow.db")) == ["whc_m"]


def test_no_database_gives_no_names_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert registered_names(Location(database=path)) == []
    assert not path.exists()
    path.write_text("no database")
    assert registered_names(Location(database=path)) == []
