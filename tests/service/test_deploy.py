"""The deployment files agree with the program, with one another, and with what a cautious operator expects."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DASHBOARD = json.loads((DEPLOY / "grafana" / "fankui.json").read_text(encoding="utf-8"))
FILES = [ROOT / "Dockerfile", ROOT / "compose.yaml", *sorted(path for path in DEPLOY.rglob("*") if path.is_file())]
READ_BY_FANKUI_ITSELF = {"FANKUI_MODELS"}
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def _user(dockerfile: Path) -> str:
    (user,) = re.findall(r"^USER (\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    return str(user)


def _seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found, duration
    return int(found[1])


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    files = [path for path in sorted(KUBERNETES.rglob("*.yaml")) if path.name != "kustomization.yaml"]
    return [document for path in files for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def paths() -> set[str]:
    return set(create_app(Settings()).openapi()["paths"])


def _named(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def _pods(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The pod of each workload."""
    for manifest in manifests:
        template = manifest.get("spec", {}).get("jobTemplate", manifest).get("spec", {}).get("template")
        if template:
            yield template["spec"]


def _queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_variable_that_a_file_names_is_a_setting(path: Path) -> None:
    known = {f"FANKUI_{name.upper()}" for name in Settings.model_fields} | READ_BY_FANKUI_ITSELF
    assert set(re.findall(r"FANKUI_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))) <= known


def test_the_values_of_settings_are_accepted(
    compose: dict[str, Any], manifests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = dict(re.findall(r"(FANKUI_\w+)=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    compose_values = compose["services"]["fankui"]["environment"]
    for values in (image, compose_values, _named(manifests, "ConfigMap")["data"]):
        with monkeypatch.context() as environment:
            for name, value in values.items():
                environment.setenv(name, str(value))
            Settings.read()


def test_the_image_keeps_tickets_in_its_volume() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (volume,) = re.findall(r"^VOLUME (\S+)$", dockerfile, re.MULTILINE)
    (url,) = re.findall(r"FANKUI_DATABASE_URL=(\S+)", dockerfile)
    assert Path(make_url(url).database or "").parent == Path(volume)
    owner = re.search(rf"install .*--owner=(\d+) --group=(\d+) .*{volume}$", dockerfile, re.MULTILINE)
    assert owner
    assert ":".join(owner.groups()) == _user(ROOT / "Dockerfile")


def test_probes_ask_routes_that_there_are(manifests: list[dict[str, Any]], paths: set[str]) -> None:
    (container,) = next(pod for pod in _pods(manifests) if "topologySpreadConstraints" in pod)["containers"]
    asked = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert set(asked.values()) <= paths
    assert {probe["httpGet"]["port"] for name, probe in container.items() if name.endswith("Probe")} == {
        container["ports"][0]["name"]
    }


def test_the_proxy_asks_whether_replicas_are_ready_and_keeps_metrics_inside(paths: set[str]) -> None:
    caddyfile = (DEPLOY / "proxy" / "Caddyfile").read_text(encoding="utf-8")
    assert re.findall(r"health_uri (\S+)", caddyfile) == ["/readyz"]
    (matched,) = re.findall(r"@metrics path (.+)", caddyfile)
    assert "/metrics" in matched.split()
    assert "error @metrics 404" in caddyfile
    assert {"/readyz", "/metrics"} <= paths


def test_the_proxy_lets_through_what_the_service_accepts() -> None:
    caddyfile = (DEPLOY / "proxy" / "Caddyfile").read_text(encoding="utf-8")
    (limit,) = re.findall(r"max_size (\d+)MiB", caddyfile)
    (wait,) = re.findall(r"response_header_timeout (\S+)", caddyfile)
    assert int(limit) * 1024 * 1024 > Settings.model_fields["max_body_bytes"].default
    assert _seconds(wait) > Settings.model_fields["request_timeout_seconds"].default


def test_the_ingress_leads_to_routes_but_not_to_metrics(manifests: list[dict[str, Any]], paths: set[str]) -> None:
    served = paths | {"/docs", "/openapi.json"}
    for rule in _named(manifests, "Ingress")["spec"]["rules"]:
        for entry in rule["http"]["paths"]:
            assert any(path == entry["path"] or path.startswith(f"{entry['path']}/") for path in served)
            assert not "/metrics".startswith(entry["path"])


def test_prometheus_is_sent_to_the_metrics(manifests: list[dict[str, Any]], paths: set[str]) -> None:
    (endpoint,) = _named(manifests, "ServiceMonitor")["spec"]["endpoints"]
    (port,) = _named(manifests, "Service")["spec"]["ports"]
    assert endpoint["path"] in paths
    assert endpoint["port"] == port["name"]


def test_every_query_of_the_dashboard_reads_metrics_that_there_are(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    known = {f"{family.name}{suffix}" for family in families for suffix in SAMPLES[family.type]}
    queries = _queries()
    assert queries
    for query in queries:
        named = set(re.findall(r"fankui_\w+", query))
        assert named, f"{query} reads nothing"
        assert named <= known, f"there is no {named - known}"


def test_every_label_and_value_in_a_query_is_one_that_the_service_gives(client: TestClient, paths: set[str]) -> None:
    client.post("/v1/classify", json={"text": "快递太慢了"})
    samples = [
        sample for family in text_string_to_metric_families(client.get("/metrics").text) for sample in family.samples
    ]
    labels = {name for sample in samples for name in sample.labels} | {"instance", "outcome"}
    heads = {head["id"] for head in client.get("/v1/taxonomy").json()["heads"]}
    for query in _queries():
        for grouped in re.findall(r"by \(([^)]+)\)", query):
            assert set(grouped.split(", ")) <= labels
        for label, value in re.findall(r'(\w+)=~?"([^"]+)"', query):
            assert value in {"head": heads, "needs_review": {"true", "false"}}[label]
        for routes in re.findall(r'route!~"([^"]+)"', query):
            assert set(routes.split("|")) <= paths


def test_every_panel_is_titled_in_chinese_and_english_and_takes_the_chosen_data_source() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        assert re.search(r"[\u4e00-\u9fff].* / .*[A-Za-z]{3}", panel["title"])
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == f"${{{variable['name']}}}"


def test_compose_has_no_secret_of_its_own(compose: dict[str, Any]) -> None:
    found = [
        (name, value)
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name)
    ]
    assert {name for name, _ in found} == {"POSTGRES_PASSWORD", "PGPASSWORD"}
    for _, value in found:
        assert re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", value)
    for service in ("fankui", "migrate"):
        assert make_url(compose["services"][service]["environment"]["FANKUI_DATABASE_URL"]).password is None


def test_every_container_of_compose_is_locked_down(compose: dict[str, Any]) -> None:
    built = {
        service["image"]: _user(ROOT / service["build"] / "Dockerfile")
        for service in compose["services"].values()
        if "build" in service
    }
    for name, service in compose["services"].items():
        user = service.get("user") or built[service["image"]]
        assert all(int(part) > 0 for part in user.split(":")), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["proxy"]


def test_the_proxy_of_compose_knows_every_replica(compose: dict[str, Any]) -> None:
    fankui = compose["services"]["fankui"]
    port = Settings.model_fields["port"].default
    upstreams = compose["services"]["proxy"]["environment"]["UPSTREAMS"].split()
    assert upstreams == [
        f"${{COMPOSE_PROJECT_NAME}}-fankui-{number}:{port}" for number in range(1, fankui["deploy"]["replicas"] + 1)
    ]


def test_compose_migrates_before_it_serves_and_lets_requests_end(compose: dict[str, Any]) -> None:
    fankui = compose["services"]["fankui"]
    assert fankui["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert compose["services"]["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    open_requests = int(fankui["environment"]["FANKUI_SHUTDOWN_TIMEOUT_SECONDS"])
    assert _seconds(fankui["stop_grace_period"]) > open_requests
    assert int(fankui["environment"]["FANKUI_THREADS"]) == int(fankui["deploy"]["resources"]["limits"]["cpus"])


def test_docker_accepts_the_compose_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=p\nSITE_ADDRESS=http://\n", encoding="utf-8")
    command = [docker, "compose", "--env-file", str(tmp_path / "env"), "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_pod_is_locked_down(manifests: list[dict[str, Any]]) -> None:
    pods = list(_pods(manifests))
    assert len(pods) == 3
    for pod in pods:
        user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
        assert user == _user(ROOT / "Dockerfile")
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_kubernetes_does_not_overwrite_settings_with_addresses_of_services(manifests: list[dict[str, Any]]) -> None:
    # A service called fankui would set FANKUI_PORT=tcp://… in every pod.
    assert all(pod["enableServiceLinks"] is False for pod in _pods(manifests))


def test_the_database_is_named_by_a_secret_that_no_file_holds(manifests: list[dict[str, Any]]) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    for pod in _pods(manifests):
        for container in pod["containers"]:
            (variable,) = container["env"]
            assert variable["name"] == "FANKUI_DATABASE_URL"
            assert "secretKeyRef" in variable["valueFrom"]
    assert "FANKUI_DATABASE_URL" not in _named(manifests, "ConfigMap")["data"]


def test_a_pod_has_time_to_end_its_requests(manifests: list[dict[str, Any]]) -> None:
    values = _named(manifests, "ConfigMap")["data"]
    pod = _named(manifests, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + int(values["FANKUI_SHUTDOWN_TIMEOUT_SECONDS"])
    assert int(values["FANKUI_THREADS"]) == int(container["resources"]["limits"]["cpu"])


def test_selectors_find_the_pods(manifests: list[dict[str, Any]]) -> None:
    deployment = _named(manifests, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert _named(manifests, "Service")["spec"]["selector"] == labels
    assert _named(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert _named(manifests, "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    jobs = [manifest for manifest in manifests if manifest["kind"] in ("Job", "CronJob")]
    for manifest in jobs:
        job = manifest["spec"].get("jobTemplate", manifest)["spec"]
        assert job["template"]["metadata"]["labels"] != labels, "the service would send requests to a job"


def test_the_kustomization_has_every_manifest_but_the_optional_ones() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    assert {*kustomization["resources"], "kustomization.yaml"} == {path.name for path in KUBERNETES.glob("*.yaml")}


def test_kubectl_builds_the_kustomization() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    result = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    built = list(yaml.safe_load_all(result.stdout))
    images = {container["image"] for pod in _pods(built) for container in pod["containers"]}
    assert len(images) == 1
    assert images.pop().startswith("registry.example.com/fankui:")
