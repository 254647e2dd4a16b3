"""A Ray cluster of our own, whatever is set for others; and what is told where there is none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from whc.errors import ClusterError, UsageError
from whc.trials import cluster

ELSEWHERE = {
    "RAY_ADDRESS": "127.0.0.1:9",
    "RAY_AUTH_MODE": "disabled",
    "RAY_CLIENT_MODE": "2",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "{",
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 7}',
    "RAY_RUNTIME_ENV_HOOK": "nowhere.hook",
    "RAY_TMPDIR": "/nonexistent",
    "TUNE_MAX_PENDING_TRIALS_PG": "0",
}


def rays() -> dict[str, str]:
    """What is set for Ray."""
    return {name: value for name, value in os.environ.items() if name.startswith(("RAY_", "TUNE_"))}


@pytest.fixture
def far_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment for another cluster, an empty home folder, and a temporary folder with a long path."""
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.99")
    home, temporary = tmp_path / "home", tmp_path / ("long" * 20)
    home.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return home


def test_a_cluster_of_our_own(far_away: Path) -> None:
    before = rays()
    with cluster.started(workers=1, corpus_bytes=1):
        import ray

        assert ray.cluster_resources()["CPU"] == 1
        assert not any(os.environ.get(name) == value for name, value in ELSEWHERE.items())
        assert os.environ.get("RAY_AUTH_MODE", "token") == "token"  # others on this machine may not join
        assert os.environ["RAY_memory_usage_threshold"] == "0.99"  # noqa: SIM112
        folder = Path(ray._private.worker._global_node.get_temp_dir_path())
        assert folder.is_dir()
    assert not folder.exists()
    assert not list(far_away.iterdir())  # nor a token for others to find
    assert rays() == before


def test_a_ray_that_does_not_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def slow(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because some of the raylet ...")

    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(ClusterError) as refusal, cluster.started(1, 1, "`whc search --resume`"):
        pass
    assert str(refusal.value) == (
        "Ray: must start on this machine, got 'The current node timed out during startup'; "
        "wait until this machine is less busy, then `whc search --resume`"
    )


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "ours"}, "RAY_AUTH_MODE is disabled"),
        ({"RAY_AUTH_TOKEN_PATH": "token"}, "RAY_AUTH_MODE is not set"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ours"}, "that in RAY_AUTH_TOKEN is another"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "token"}, "that in token is another"),
        ({"RAY_AUTH_MODE": "token"}, "there is no {home}/.ray/auth_token"),
    ],
)
def test_a_token_that_is_missing_is_told(
    environment: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray says of another token is tried with a real one in test_faults.py."""
    import ray

    def refuse(**_: object) -> None:
        raise ray.exceptions.AuthenticationError("RPC error: InvalidAuthToken")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("ours")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError) as refusal, cluster.joined("auto"):
        pass
    expected = f"--address: must be a Ray cluster whose token is at hand ({reason.format(home=tmp_path)}), got 'auto'; "
    assert str(refusal.value).startswith(f"{expected}copy the head's ~/.ray/auth_token to ")
    assert str(refusal.value).endswith("and set RAY_AUTH_MODE=token")
