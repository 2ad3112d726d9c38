from pathlib import Path

import pytest

from whippet.errors import WhippetError
from whippet.project import find_project


def checkout(root: Path) -> Path:
    for name in ("terraform/versions.tf", "scripts/build_lambda.py"):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    return root


def test_a_checkout_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    root = checkout(tmp_path / "whippet")
    (root / "python/ops").mkdir(parents=True)
    assert find_project(root / "python/ops").root == root


def test_from_elsewhere_it_is_the_checkout_the_package_was_installed_from(tmp_path: Path) -> None:
    assert (find_project(tmp_path).root / "python/ops/src/whippet/project.py").is_file()


def test_outside_of_any_checkout_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whippet.project.__file__", str(tmp_path / "site-packages/whippet/project.py"))
    with pytest.raises(WhippetError, match="not in a Whippet checkout"):
        find_project(tmp_path)
