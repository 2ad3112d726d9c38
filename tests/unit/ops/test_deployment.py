import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from whippet import deployment as deployments
from whippet.deployment import ENVIRONMENTS, Deployment, LambdaPlatform, build, deploy
from whippet.errors import WhippetError
from whippet.project import Project

QUIET = Console(quiet=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A checkout whose Terraform has the variables that a deployment asks for, and nothing else."""
    (tmp_path / "terraform" / "envs").mkdir(parents=True)
    (tmp_path / "terraform" / "variables.tf").write_text(
        'variable "single_hop" {\n  default = false\n}\nvariable "lambda_architecture" {\n  default = "arm64"\n}\n'
    )
    for environment in ENVIRONMENTS:
        (tmp_path / "terraform" / "envs" / f"{environment}.tfvars").touch()
    return Project(tmp_path)


def on_disk(monkeypatch: pytest.MonkeyPatch, local_aws_id: str | None) -> None:
    """Local AWS as the commands see it: the identity of its state, or None where there is none."""
    monkeypatch.setattr(deployments.local_aws, "identity", lambda port: local_aws_id)
    monkeypatch.setattr(deployments.local_aws, "up", lambda port: SimpleNamespace(id=local_aws_id))


def deployed_to(deployment: Deployment, local_aws_id: str) -> Path:
    state = deployment.project.terraform / "terraform.tfstate.d" / deployment.workspace
    state.mkdir(parents=True)
    (state / "terraform.tfstate").write_text("{}")
    (state / "local_aws.json").write_text(json.dumps({"local_aws_id": local_aws_id}))
    return state


def test_environments_side_by_side_have_workspaces_of_their_own(project: Project) -> None:
    targets = [Deployment(project, "local"), Deployment(project, "local", 5000), Deployment(project, "dev")]
    assert [target.workspace for target in targets] == ["local", "local-5000", "dev"]


def test_an_unknown_environment_is_refused_with_the_known_ones(project: Project) -> None:
    with pytest.raises(WhippetError, match="local, dev, prod"):
        Deployment(project, "staging")


def test_only_the_local_environment_is_pointed_at_local_aws(project: Project) -> None:
    local = Deployment(project, "local", 5000).variables(project.model)
    assert local[0] == "-var-file=envs/local.tfvars"
    assert "local_aws_url=http://127.0.0.1:5000" in local
    assert not any("local_aws_url" in argument for argument in Deployment(project, "prod").variables(project.model))


def test_a_lambda_that_holds_the_model_gets_a_package_of_its_own_for_its_processor(project: Project) -> None:
    for environment in ("local", "prod"):
        (project.terraform / "envs" / f"{environment}.tfvars").write_text("single_hop = true\n")
    dev, prod, local = (Deployment(project, environment) for environment in ("dev", "prod", "local"))
    assert (dev.single_hop, prod.single_hop) == (None, LambdaPlatform("arm64"))
    assert local.single_hop == LambdaPlatform.of_this_machine()
    assert f"lambda_zip={project.build}/lambda.zip" in dev.variables(project.model)
    assert f"lambda_zip={project.build}/lambda-single-hop-arm64.zip" in prod.variables(project.model)
    assert f"lambda_zip={project.build}/lambda-single-hop-local.zip" in local.variables(project.model)


@pytest.mark.parametrize(("system", "python"), [("darwin", (3, 12)), ("linux", (3, 14))])
def test_a_machine_that_cannot_run_such_a_package_is_told_so(
    system: str, python: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "version_info", python)

    with pytest.raises(WhippetError, match="leave single_hop out"):
        LambdaPlatform.of_this_machine()


def test_a_failed_build_tells_the_scripts_own_line(project: Project) -> None:
    (project.terraform / "envs" / "dev.tfvars").write_text("single_hop = true\n")
    (project.root / "scripts").symlink_to(Path(__file__).parents[3] / "scripts")
    with pytest.raises(WhippetError, match=r"build_single_hop.py failed: .*no model at .*whippet train"):
        build(Deployment(project, "dev"), project.model)


def test_deploying_without_a_model_says_how_to_get_one(project: Project) -> None:
    with pytest.raises(WhippetError, match="whippet train"):
        deploy(Deployment(project, "local"), project.model, lambda plan: True, QUIET)


def test_destroy_forgets_a_state_whose_local_aws_is_gone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Deployment(project, "local")
    state = deployed_to(target, "earlier")
    on_disk(monkeypatch, None)
    assert deployments.destroy(target, lambda plan: True, QUIET) == 0
    assert not state.exists()


@pytest.mark.parametrize(("now", "kept"), [("same", True), ("reset", False)])
def test_deploy_keeps_the_state_of_a_local_aws_that_was_not_emptied(
    project: Project, monkeypatch: pytest.MonkeyPatch, now: str, kept: bool
) -> None:
    target = Deployment(project, "local")
    state = deployed_to(target, "same")
    on_disk(monkeypatch, now)
    deployments.use_running_local_aws(target)
    assert (state / "terraform.tfstate").exists() is kept
    assert json.loads((state / "local_aws.json").read_text()) == {"local_aws_id": now}


def test_nothing_deployed_says_what_to_run(project: Project) -> None:
    target = Deployment(project, "dev")
    target.terraform.output = dict  # type: ignore[method-assign,assignment]
    with pytest.raises(WhippetError, match="whippet deploy --env dev"):
        _ = target.outputs


def test_asking_a_local_aws_that_does_not_run_says_what_to_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments.local_aws, "status", lambda port: None)
    with pytest.raises(WhippetError, match="whippet local up"):
        Deployment(project, "local").client("lambda")
